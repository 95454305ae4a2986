//! How a filesystem is filled, checked and read by tools that are not ours.

use crate::made::UNMOUNT;

/// Bodies of shell functions, on the disk `$disk` that `attach` has made of `$file`.
#[derive(Clone, Copy, Debug)]
pub struct Hands {
    /// Fills it, and deletes so that what comes next has to go into holes.
    fill: &'static str,
    check: &'static str,
    /// Prints the digests and names of all files.
    sums: &'static str,
    pub files: Files,
    /// Who says that the disk is sound and that the files are what they were.
    pub judges: &'static str,
}

/// Whether it has files that `rescue cp` gives out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Files {
    /// They have to be what `sums` printed of the source.
    Read,
    /// They have to be in `list`, what the kernel that filled it listed; where they are copied to, and how names are
    /// spelt, is its own.
    Listed(&'static str),
    /// As `Listed`, beside one that is compressed: `rescue cp` says that it cannot be read, and ends with 2.
    ListedAndOneNot(&'static str),
    None,
}

impl Files {
    /// How `rescue cp` has to end, and what then compares its files.
    pub fn judged(self) -> Option<(i32, &'static str)> {
        match self {
            Files::Read => Some((0, "digests out/files >ours; diff before ours >&2")),
            Files::Listed(script) => Some((0, script)),
            Files::ListedAndOneNot(script) => Some((2, script)),
            Files::None => None,
        }
    }
}

impl Hands {
    pub fn script(&self) -> String {
        let Hands {
            fill, check, sums, ..
        } = self;
        format!(
            "{UNMOUNT}\n{COMMON}\nfill() {{\n{fill}\n}}\ncheck() {{\n{check}\n}}\nsums() {{\n{sums}\n}}\n"
        )
    }
}

/// `mix` takes any mounted directory to a filled and fragmented state: a tree of real files, small files up to half of
/// the disk, every second deleted, then two large files that grow by turns into the holes. What is written past the
/// kernel's cache gets its blocks at once.
const COMMON: &str = r#"
loop() { disk=$(losetup -b $sectors -f --show $file); }
# What a program of its own serves is all written when that has let go of the disk: a minute at most.
let_go() { [ -z "$(find /proc/[0-9]*/fd \( -lname "$PWD/$file" -o -lname "$disk" \) 2>/dev/null)" ]; }
gone() { unmount mnt; for n in $(seq 600); do ! let_go || return 0; sleep 0.1; done; echo "$disk is still open" >&2; false; }
end() { ! mountpoint -q mnt || gone; [ "$disk" = $file ] || losetup -d $disk; }
attach() { mkdir -p mnt; disk=$file; [ $sectors = 512 ] || loop; trap end EXIT; }
# Whole blocks and a part of one, whatever the size of the blocks is.
piece=$((size_mib > 200 ? 130900 : size_mib * 500))
half=$((size_mib * 512))
holes() { mkdir $1; head -c ${2:-$half}K $stage/noise | split -a 4 -d -b $piece - $1/; }
direct=
room() { df --output=avail -k mnt | tail -n 1; }
mix() {
    all=$(room); cp -r $stage/tree mnt/first; most=$(($(room) / 2)); holes mnt/holes $((most < half ? most : half)); sync -f mnt
    find mnt/holes -name '*[13579]' -delete; rm -r mnt/first/rescue/disk; sync -f mnt
    cp -r $stage/tree mnt/second
    # btrfs takes room for data in large pieces and would have none left for its trees.
    keep=20; [ $(stat -f -c %T mnt) != btrfs ] || keep=40
    for n in $(seq 20); do for large in one two; do
        [ $(room) -gt $((all * keep / 100)) ] || break
        dd if=$stage/noise of=mnt/$large bs=$((size_mib << 14)) count=2 skip=$n oflag=append$direct conv=notrunc status=none || break
    done; done
    find mnt/holes -name '*[26]' -delete; rm mnt/two
    truncate -s 3M mnt/sparse; head -c 9000 $stage/noise | dd of=mnt/sparse bs=4096 seek=300 conv=notrunc status=none
    : >mnt/empty
}
# A volume that a kernel filled, and what that listed.
kept() {
    zstd -dqc $kept/$1.zst | dd of=$2 bs=1M iflag=fullblock conv=notrunc status=none
    list=$kept/${1%.img}.list; [ ! -e $list ] || grep -E '^[0-9a-f]{64} ' $list >list
}
# Macs take letters and accents apart, Linux puts them together.
composed() { perl -CS -MUnicode::Normalize -pe '$_ = NFC $_' | sort -k 2; }
digests() { (cd "$1"; find . \( -name lost+found -o -path './$*' \) -prune -o -type f -print0 | sort -z | xargs -0 sha256sum); }
"#;

/// Mounted by the kernel.
pub const fn mounted(check: &'static str, judges: &'static str) -> Hands {
    Hands {
        fill: "mount $disk mnt; direct=,direct; mix; ln mnt/one mnt/again; ln -s one mnt/link; gone",
        check,
        sums: "mount -o ro $disk mnt; digests mnt; gone",
        files: Files::Read,
        judges,
    }
}

pub const NTFS: Hands = Hands {
    fill: "ntfs-3g -o big_writes $disk mnt; mix; gone",
    // ntfsresize counts the owner of every cluster against the bitmap.
    check: "ntfsfix -n $disk; ntfsresize --info --force $disk",
    sums: "ntfs-3g -o ro $disk mnt; digests mnt; gone",
    files: Files::Read,
    judges: "ntfsfix, ntfsresize, ntfs-3g",
};

pub const EXFAT: Hands = Hands {
    fill: "[ $disk != $file ] || loop; mount.exfat-fuse $disk mnt >&2; mix; gone",
    check: "fsck.exfat -n $disk",
    sums: "[ $disk != $file ] || loop; mount.exfat-fuse -o ro $disk mnt >&2; digests mnt; gone",
    files: Files::Read,
    judges: "fsck.exfat, exfat-fuse",
};

pub const MTOOLS: Hands = Hands {
    fill: r#"
    export MTOOLS_SKIP_CHECK=1; put() { mcopy -i $disk -s "$@"; }
    holes holes; put $stage/tree ::/first; put holes ::/
    mdel -i $disk '::/holes/*[13579]'; mdeltree -i $disk ::/first/rescue/disk
    head -c $((size_mib * 45 / 100))M $stage/noise >large; put large ::/
    mdel -i $disk '::/holes/*[26]'; : >empty; put empty ::/; rm -r holes large empty"#,
    check: "fsck.fat -n $disk",
    sums: "rm -rf got; mkdir got; MTOOLS_SKIP_CHECK=1 mcopy -i $disk -s '::/*' got; digests got; rm -r got",
    files: Files::Read,
    judges: "fsck.fat, mtools",
};

/// For blocks that no kernel mounts here.
pub const DEBUGFS: Hands = Hands {
    fill: r#"
    mkdir put; holes put/holes; cp -r $stage/tree put/first; head -c $((size_mib * 45 / 100))M $stage/noise >large
    { find put -mindepth 1 -type d -printf 'mkdir %P\n'
      find put -mindepth 2 -type f -printf 'cd /%P\nwrite %p %f\n' | sed '/^cd/s,/[^/]*$,,'
      find put/holes -name '*[13579]' -printf 'rm /holes/%f\n'
      printf 'cd /\nwrite large large\n'
      find put/holes -name '*[26]' -printf 'rm /holes/%f\n'; } >commands
    debugfs -w -f commands $disk >/dev/null 2>said; ! grep -v '^debugfs' said >&2; rm -r put large"#,
    check: "e2fsck -fn $disk",
    sums: r#"rm -rf got; mkdir got; debugfs -R "rdump / got" $disk >/dev/null 2>&1; digests got; rm -r got"#,
    files: Files::Read,
    judges: "e2fsck, debugfs",
};

/// For versions and blocks that not every kernel mounts: filled by mkfs, read where xfs_db says that files are.
pub const XFS_DB: Hands = Hands {
    fill: "true",
    check: "xfs_repair -n $disk",
    sums: r#"
    (cd $stage; find tree pieces large -type f -printf './%p\n' | sort) >names
    { printf 'sb 0\np agblocks blocksize\n'; sed 's,^\.\(.*\),path \1\np core.size\nbmap,' names; } |
        xfs_db -r $disk 2>/dev/null | perl -e '
            use Digest::SHA; open my $disk, "<", shift or die; my @names = map { chomp; $_ } do { open my $n, "<", "names"; <$n> };
            my ($blocks, $size, $len, $sum, $left);
            my $end = sub { printf "%s  %s\n", $sum->hexdigest, shift @names if $sum };
            while (<STDIN>) {
                s/^(xfs_db> )+//;
                $blocks = $1 if /^agblocks = (\d+)/; $size = $1 if /^blocksize = (\d+)/;
                if (/^core.size = (\d+)/) { $end->(); $sum = Digest::SHA->new(256); $left = $1 }
                if (m{^data offset \d+ startblock \d+ \((\d+)/(\d+)\) count (\d+)}) {
                    $len = $3 * $size; $len = $left if $len > $left; $left -= $len;
                    seek $disk, ($1 * $blocks + $2) * $size, 0; read($disk, my $bytes, $len) == $len or die; $sum->add($bytes);
                }
            }
            $end->(); die "files without a size: @names" if @names' $disk
    "#,
    files: Files::Read,
    judges: "xfs_repair, xfs_db",
};

pub const SWAP: Hands = Hands {
    fill: "true",
    check: "swaplabel $disk",
    sums: "swaplabel $disk; blkid -p -o export $disk | grep -v DEVNAME",
    files: Files::None,
    judges: "swaplabel, blkid",
};

/// Filled by its own tool, which needs no driver and deletes nothing.
pub const F2FS: Hands = Hands {
    fill: r#"
    mkdir put; cp -r $stage/tree put/first; holes put/holes $((size_mib * 150)); sload.f2fs -f put $disk >&2; digests put >all
    rm -r put; mkdir -p put/later; head -c $((size_mib * 50))K $stage/noise >put/later/large; sload.f2fs -f put $disk >&2
    digests put >>all; sort -k 2 all >list; rm -r put"#,
    check: CHECK_F2FS,
    sums: r#"
    (cd $stage/tree; find . -type f -printf '/first/%P\n' | sort | awk 'NR % 16 == 1'; echo /later/large) | while read name; do
        grub-fstest $file cp "(loop0)$name" got >&2; [ -s got ] || : >got; echo "$(sha256sum <got | cut -c -64)  .$name"
    done"#,
    files: Files::Listed("digests out/files | sort -k 2 >ours; diff list ours >&2"),
    judges: "fsck.f2fs, GRUB (every sixteenth file), what sload.f2fs was given",
};

/// As a kernel left it. A file is full of lines with its own name; one of 5 GB of holes is left aside.
pub const F2FS_KEPT: Hands = Hands {
    fill: "true",
    check: CHECK_F2FS,
    sums: r#"
    perl -MDigest::SHA=sha256_hex -e '
        my @all = (["deep/a/b/", "x", 9999], ["", "large", 13000000]);
        push @all, map { ["many/", "a-rather-long-name-of-a-file-$_", $_] } grep { $_ % 2 } 1 .. 299;
        for (@all) {
            my ($folder, $name, $len) = @$_;
            my $text = substr "$name\n" x ($len / (1 + length $name) + 1), 0, $len;
            printf "%s  ./%s%s\n", sha256_hex($text), $folder, $name;
        }' | sort -k 2"#,
    files: Files::ListedAndOneNot(
        "(cd out/files; find ./deep/a/b ./large ./many -type f -print0 | sort -z | xargs -0 sha256sum) >ours; \
         diff before ours >&2",
    ),
    judges: "fsck.f2fs, the names that the kernel filled files with",
};

const CHECK_F2FS: &str = r#"
    fsck.f2fs --dry-run $disk >said 2>&1; ! grep -e '\[Fail\]' -e ASSERT said
    grep 'SIT valid block bitmap checking *\[Ok' said"#;

/// No package of Debian checks it; 7-Zip reads all of its trees.
pub const HFSPLUS: Hands = Hands {
    fill: "true",
    check: "7z t -y $file",
    sums: "rm -rf got; 7z x -y -ogot $file >&2; digests got; rm -r got",
    files: Files::Listed(
        "digests out/files | composed >ours; composed <list >theirs; diff theirs ours >&2",
    ),
    judges: "7-Zip, the kernel's list",
};

/// Its checker reads every tree and every count; the files are known from the kernel's list.
pub const APFS: Hands = Hands {
    fill: "true",
    check: "apfsck -cuw $file",
    sums: "cat list",
    files: Files::Listed(
        "digests out/files/* | composed >ours; composed <list >theirs; diff theirs ours >&2",
    ),
    judges: "apfsck, the kernel's list",
};

pub const REISERFS: Hands = by_grub(
    "cp --sparse=always $file copy; reiserfsck --check -y -q copy; rm copy",
    "reiserfsck, GRUB, the lines that the kernel wrote",
);

pub const JFS: Hands = by_grub(
    "fsck.jfs -n -f $file",
    "fsck.jfs, GRUB, the lines that the kernel wrote",
);

/// A kernel wrote the lines, GRUB reads them.
const fn by_grub(check: &'static str, judges: &'static str) -> Hands {
    Hands {
        fill: "true",
        check,
        sums: r#"
    text() { awk -v n=$1 -v b=$2 'BEGIN { for (i = 0; i < b * 64; i++) printf "live %05d %06d a line of a file that compresses well........\n", n, i }'; }
    for n in $(seq 0 89); do
        name=a/live$n blocks=$((1 + n % 9)); [ $n -ge 60 ] || name=a/b/live$n blocks=$((1 + n * 7 % 40))
        grub-fstest $file cp "(loop0)/$name" got >&2; text $n $blocks | head -c $((blocks * 4096)) | cmp - got >&2
        echo "$(sha256sum <got)  $name"
    done"#,
        files: Files::None,
        judges,
    }
}
