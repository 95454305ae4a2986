"""Makes a BitLocker volume of plain bytes, by libyal's description of the format.

volume.py PLAIN INTO METHOD SECTOR STATE PLACES PROTECTOR…
PLACES: where the three copies of the metadata stand, and the volume's first 8 KiB.
"""
import hashlib, os, struct, sys, zlib
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESCCM

plain, into, method, sector, state, places, *protectors = sys.argv[1:]
method, sector, state = int(method, 16), int(sector), int(state)
*areas, stored = [int(place) for place in places.split(",")]
plain = open(plain, "rb").read()
HEAD = 8192


def entry(kind, value, data):
    return struct.pack("<4H", 8 + len(data), kind, value, 1) + data


def key_data(kind, key):
    return struct.pack("<4HI", 12 + len(key), 0, 1, 0, kind) + key


def sealed(key, data):
    nonce = os.urandom(12)
    closed = AESCCM(key, tag_length=16).encrypt(nonce, data, None)
    return nonce + closed[-16:] + closed[:-16]


def stretched(first, salt):
    last = bytes(32)
    for count in range(0x100000):
        last = hashlib.sha256(last + first + salt + struct.pack("<Q", count)).digest()
    return last


master = os.urandom(32)
lengths = {0x8000: 64, 0x8001: 64, 0x8002: 16, 0x8003: 32, 0x8004: 32, 0x8005: 64}
key = os.urandom(lengths[method])


def protector(spec):
    word, _, text = spec.partition("=")
    guid, salt, inner = os.urandom(16), os.urandom(16), b""
    numbers = {"clear": 0, "tpm": 0x100, "startup": 0x200, "recovery": 0x800, "password": 0x2000}
    if word == "recovery":
        groups = [int(group) // 11 for group in text.split("-")]
        opener = stretched(hashlib.sha256(struct.pack("<8H", *groups)).digest(), salt)
    elif word == "password":
        wide = text.encode("utf-16-le")
        opener = stretched(hashlib.sha256(hashlib.sha256(wide).digest()).digest(), salt)
    else:
        opener = os.urandom(32)
    if word in ("recovery", "password"):
        inner += entry(0, 3, struct.pack("<I", 0x1000) + salt + entry(0, 5, sealed(opener, key_data(0, opener))))
    if word == "clear":
        inner += entry(0, 1, struct.pack("<I", 0x2000) + opener)
    if word == "startup":
        external = guid + bytes(8) + entry(0, 2, "ExternalKey\0".encode("utf-16-le"))
        external = entry(6, 9, external + entry(0, 1, struct.pack("<I", 0x2002) + opener))
        head = struct.pack("<4I16sI2HQ", 48 + len(external), 1, 48, 48 + len(external), guid, 1, 0, 0, 0)
        open(text, "wb").write(head + external)
    inner += entry(0, 5, sealed(opener, key_data(0x2003, master)))
    return entry(2, 8, guid + bytes(10) + struct.pack("<H", numbers[word]) + inner)


entries = entry(7, 2, "PC C: 1/1/2024\0".encode("utf-16-le"))
entries += b"".join(protector(spec) for spec in protectors)
entries += entry(3, 5, sealed(master, key_data(method, key)))
entries += entry(15, 15, struct.pack("<2Q", stored, HEAD))

block = struct.pack("<8s4HQ2I4Q", b"-FVE-FS-", 0, 2, state, state, len(plain), 0, HEAD // sector, *areas, stored)
block += struct.pack("<4I16sI2HQ", 48 + len(entries), 1, 48, 48 + len(entries), bytes(range(16)), 9, method, 0, 0)
block += entries
block += bytes(-len(block) % 16)
block = block[:8] + struct.pack("<H", len(block) >> 4) + block[10:]
block += struct.pack("<2HI", 0x1000 - len(block) % 0x1000, 2, zlib.crc32(block))


def aes(key, mode, data):
    one = Cipher(algorithms.AES(key), mode).encryptor()
    return one.update(data) + one.finalize()


def mixed(data):
    """Diffuser A, then B, as Ferguson has them for writing."""
    words = list(struct.unpack("<%dI" % (len(data) // 4), data))
    count, mask = len(words), 0xFFFFFFFF
    for step, turns, rounds in ((-1, (9, 0, 13, 0), 5), (1, (0, 10, 0, 25), 3)):
        for _ in range(rounds):
            for at in reversed(range(count)):
                far, turn = words[(at + 5 * step) % count], turns[at % 4]
                far = (far << turn | far >> (32 - turn)) & mask
                words[at] = (words[at] - (words[(at + 2 * step) % count] ^ far)) & mask
    return struct.pack("<%dI" % count, *words)


def encrypted(data, place):
    if method >= 0x8004:
        return aes(key, modes.XTS((place // sector).to_bytes(16, "little")), data)
    length = 16 if method in (0x8000, 0x8002) else 32
    number = place.to_bytes(16, "little")
    if method < 0x8002:
        other = key[32:32 + length]
        tweak = aes(other, modes.ECB(), number) + aes(other, modes.ECB(), number[:15] + b"\x80")
        data = bytes(a ^ b for a, b in zip(data, tweak * (len(data) // 32)))
        data = mixed(data)
    return aes(key[:length], modes.CBC(aes(key[:length], modes.ECB(), number)), data)


out = bytearray(os.urandom(len(plain)))
for at in range(0, len(plain), sector):
    place = stored + at if at < HEAD else at
    out[place:place + sector] = encrypted(plain[at:at + sector], place)
for area in areas:
    out[area:area + 65536] = block + bytes(65536 - len(block))
# Its first sectors once more: what was encrypted over them above is not theirs.
for at in range(0, HEAD, sector):
    out[stored + at:stored + at + sector] = encrypted(plain[at:at + sector], stored + at)
boot = bytearray(512)
boot[:13] = b"\xeb\x58\x90-FVE-FS-" + struct.pack("<H", sector)
boot[160:176] = bytes.fromhex("3bd66749292ed84a8399f6a339e3d001")
boot[176:200] = struct.pack("<3Q", *areas)
boot[510:] = b"\x55\xaa"
out[:512] = boot
open(into, "wb").write(out)
