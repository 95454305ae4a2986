//! How a filesystem is filled, checked and read by tools that are not ours.

/// Bodies of shell functions, on the disk `$disk` that `attach` has made of `$file`.
#[derive(Clone, Copy, Debug)]
pub struct Hands {
    /// Fills it, and deletes so that what comes next has to go into holes.
    fill: &'static str,
    check: &'static str,
    /// Prints the digests and names of all files.
    sums: &'static str,
    pub files: Files,
}

/// Whether it has files that `rescue cp` gives out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Files {
    Read,
    None,
}

impl Hands {
    pub fn script(&self) -> String {
        let Hands {
            fill, check, sums, ..
        } = self;
        format!("{COMMON}\nfill() {{\n{fill}\n}}\ncheck() {{\n{check}\n}}\nsums() {{\n{sums}\n}}\n")
    }
}

/// `mix` takes any mounted directory to a filled and fragmented state: a tree of real files, small files up to half of
/// the disk, every second deleted, then two large files that grow by turns into the holes. What is written past the
/// kernel's cache gets its blocks at once.
const COMMON: &str = r#"
loop() { disk=$(losetup -b $sectors -f --show $file); }
end() { ! mountpoint -q mnt || umount mnt; [ "$disk" = $file ] || losetup -d $disk; }
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
digests() { (cd $1; find . \( -name lost+found -o -path './$*' \) -prune -o -type f -print0 | sort -z | xargs -0 sha256sum); }
"#;

/// Mounted by the kernel.
pub const fn mounted(check: &'static str) -> Hands {
    Hands {
        fill: "mount $disk mnt; direct=,direct; mix; ln mnt/one mnt/again; ln -s one mnt/link; umount mnt",
        check,
        sums: "mount -o ro $disk mnt; digests mnt; umount mnt",
        files: Files::Read,
    }
}

pub const NTFS: Hands = Hands {
    fill: "ntfs-3g -o big_writes $disk mnt; mix; umount mnt",
    // ntfsresize counts the owner of every cluster against the bitmap.
    check: "ntfsfix -n $disk; ntfsresize --info --force $disk",
    sums: "ntfs-3g -o ro $disk mnt; digests mnt; umount mnt",
    files: Files::Read,
};

pub const EXFAT: Hands = Hands {
    fill: "[ $disk != $file ] || loop; mount.exfat-fuse $disk mnt >&2; mix; umount mnt",
    check: "fsck.exfat -n $disk",
    sums: "[ $disk != $file ] || loop; mount.exfat-fuse -o ro $disk mnt >&2; digests mnt; umount mnt",
    files: Files::Read,
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
};

pub const SWAP: Hands = Hands {
    fill: "true",
    check: "swaplabel $disk",
    sums: "swaplabel $disk; blkid -p -o export $disk | grep -v DEVNAME",
    files: Files::None,
};
