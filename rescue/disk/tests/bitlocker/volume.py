"""Makes a BitLocker volume of plain bytes, by libyal's description of the format.

volume.py PLAIN INTO METHOD SECTOR STATE PLACES PROTECTOR…
PLACES: where the three copies of the metadata stand, and the volume's first 8 KiB.
With a fifth place there are also bitmaps of what is encrypted, and the last word is which chunks are, over and over: 0110.
A letter after it says that a conversion is under way. After dissect.fve's description (`bde/c_bde.py`).
"""
import hashlib, os, struct, sys, zlib
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESCCM

plain, into, method, sector, state, places, *protectors = sys.argv[1:]
method, sector, state = int(method, 16), int(sector), int(state)
*areas, stored = [int(place) for place in places.split(",")]
areas, stored, base = (areas[:3], areas[3], stored) if len(areas) == 4 else (areas, stored, None)
chunks = protectors.pop() if base else ""
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


CHUNK, STRIDE, LOG, REGIONS = 256 << 10, 0x400, 0x1000, 3
bounds = [HEAD] + [len(plain) // REGIONS * nth & ~0xFFF for nth in range(1, REGIONS)] + [len(plain)]
regions = list(zip(bounds, bounds[1:]))
numbers = {}
for start, end in regions if base else ():
    for at in range(start, end, CHUNK):
        numbers[at] = (len(numbers), min(CHUNK, end - at))
is_encrypted = lambda nth: chunks.rstrip("x")[nth % len(chunks.rstrip("x"))] == "1"
clear = [(at, at + size) for at, (nth, size) in numbers.items() if not is_encrypted(nth)]


def stands(data, place):
    return data if any(start <= place < end for start, end in clear) else encrypted(data, place)


def summed(data, at):
    return data[:at] + struct.pack("<I", zlib.crc32(data)) + data[at + 4:]


def conversion():
    """Each piece with its place."""
    places = [base + 0x2000 + nth * 0x4000 for nth in range(REGIONS)]
    information = b"FVE-EOW\0" + struct.pack("<2H7I", 56, 56 + 8 * REGIONS, sector, sector, CHUNK, LOG, STRIDE, REGIONS, 0)
    information += struct.pack("<%dQ" % (2 + REGIONS), base, base + 0x1000, *places)
    for place in (base, base + 0x1000):
        yield place, summed(information, 36)
    for nth, (start, end) in enumerate(regions):
        bits = [is_encrypted(numbers[at][0]) for at in range(start, end, CHUNK)]
        head = b"FVE-EOWBM\0" + struct.pack("<H2I3Q4I", 60, 0x600, nth, start, end - start, places[nth] + 0x1000, 0x200, 0x400, 0x200, 0)
        block = summed(head + bytes(0x200 - len(head)), 56)
        # The older one says the opposite.
        for number in (4, 3):
            value = sum(1 << at for at, bit in enumerate(bits) if bit == (number == 4))
            record = b"FVE-EOWBR\0" + struct.pack("<H2IQ2I", 36, 0x200, len(bits), number, 2, 0)
            block += summed(record + value.to_bytes(0x200 - 36, "little"), 32)
        yield places[nth], block
        log = bytearray(LOG)
        log[:50] = b"OLRDHEVF2\0" + struct.pack("<2HIQ4IQ", 1, 2, sector, len(plain), CHUNK, STRIDE, 32, 0x200, start)
        for number, place in ((7, start), (8, start if chunks.endswith("x") and nth == 1 else 0)):
            record = struct.pack("<2H2Q2I", 32, 1, number, place, 0x400, 0)
            at = 0x200 + (8 - number) * STRIDE
            log[at:at + 32] = record + struct.pack("<I", zlib.crc32(record))
        yield places[nth] + 0x1000, log


out = bytearray(os.urandom(len(plain)))
for at in range(0, len(plain), sector):
    place = stored + at if at < HEAD else at
    out[place:place + sector] = stands(plain[at:at + sector], place)
for area in areas:
    out[area:area + 65536] = block + bytes(65536 - len(block))
# Its first sectors once more: what was encrypted over them above is not theirs.
for at in range(0, HEAD, sector):
    out[stored + at:stored + at + sector] = stands(plain[at:at + sector], stored + at)
for place, piece in conversion() if base else ():
    out[place:place + len(piece)] = piece
boot = bytearray(512)
boot[:13] = b"\xeb\x58\x90-FVE-FS-" + struct.pack("<H", sector)
boot[160:176] = bytes.fromhex("3b4da89280dd0e4d9e4eb1e3284eaed8" if base else "3bd66749292ed84a8399f6a339e3d001")
boot[176:200] = struct.pack("<3Q", *areas)
boot[200:216] = struct.pack("<2Q", base, base + 0x1000) if base else bytes(16)
boot[510:] = b"\x55\xaa"
out[:512] = boot
open(into, "wb").write(out)
