//! A computer to look at: a system disk, an empty larger one, a USB disk with room, and the boot medium.

use std::path::PathBuf;
use std::sync::Arc;

use disk::extent::{Extent, ExtentMap};
use disk::fs::{Basis, Filesystem, State, Used};
use disk::geometry::Geometry;
use disk::layout::{Content, Layout, Owner, Region};
use disk::table::{Partition, Role, Scheme, Table};
use engine::event::Event;
use engine::host::{Disk, Transport};
use engine::identity::{Fingerprint, Identity};
use engine::plan::{Plan, Refusal, Shown};
use engine::report::{DiskReport, DiskRole, Outcome, Report, Verified};
use engine::request::{Action, Request};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use rescue_tui::app::{App, Effect, Message};
use rescue_tui::keys::Key;
use rescue_tui::theme::Theme;
use rescue_tui::world::{Home, Inventory, Terminal};

const GB: u64 = 1_000_000_000;
const MIB: u64 = 1 << 20;

pub fn system_disk() -> Disk {
    let size = 1_000_204_886_016;
    let mut disk = bare(
        "Samsung SSD 980 PRO 1TB",
        "S5GXNX0T123456K",
        size,
        "/dev/nvme0n1",
    );
    disk.transport = Transport::Nvme;
    disk.firmware = Some("5B2QGXA7".into());
    disk.identity.wwn = Some("eui.002538b111501234".into());
    disk.rotational = Some(false);
    disk.systems = vec!["Windows 11".into(), "Debian GNU/Linux 12 (bookworm)".into()];
    disk.layout = Ok(gpt(
        size,
        vec![
            partition(
                1,
                MIB,
                105 * MIB,
                "EFI system",
                Some(filesystem("vfat", "SYSTEM", 105 * MIB, 31 * MIB)),
            ),
            partition(2, 106 * MIB, 16 * MIB, "Microsoft reserved", None),
            partition(3, 122 * MIB, 640 * GB, "Windows data", {
                let mut ntfs = filesystem("ntfs", "Windows", 640 * GB, 312 * GB);
                ntfs.state = State::Hibernated;
                Some(ntfs)
            }),
            partition(4, 122 * MIB + 640 * GB, 250 * GB, "Linux", {
                let mut ext4 = filesystem("ext4", "", 250 * GB, 48 * GB);
                ext4.state = State::Dirty("was not unmounted".into());
                Some(ext4)
            }),
            partition(
                5,
                122 * MIB + 890 * GB,
                16 * GB,
                "Linux swap",
                Some(filesystem("swap", "", 16 * GB, 4096)),
            ),
        ],
    ));
    disk
}

pub fn empty_disk() -> Disk {
    let size = 2_000_398_934_016;
    let mut disk = bare("WDC WD20EZRZ-00Z5HB0", "WD-WCC4M5KX9F2A", size, "/dev/sda");
    disk.transport = Transport::Sata;
    disk.rotational = Some(true);
    disk.geometry.physical_sector = 4096;
    disk.layout = Ok(Layout {
        table: None,
        ..gpt(size, Vec::new())
    });
    disk
}

pub fn usb_disk() -> Disk {
    let size = 4_000_752_599_040;
    let mut disk = bare(
        "WD Elements 25A2",
        "575838314139373046344132",
        size,
        "/dev/sdb",
    );
    disk.transport = Transport::Usb;
    disk.layout = Ok(gpt(
        size,
        vec![partition(
            1,
            MIB,
            size - 2 * MIB,
            "Linux",
            Some(filesystem("ext4", "BACKUP", size - 2 * MIB, 700 * GB)),
        )],
    ));
    disk
}

pub fn boot_stick() -> Disk {
    let size = 15_376_318_464;
    let mut disk = bare("SanDisk Ultra", "4C530001230822116284", size, "/dev/sdc");
    disk.transport = Transport::Usb;
    disk.boot_medium = true;
    disk
}

fn bare(model: &str, serial: &str, size_bytes: u64, path: &str) -> Disk {
    let geometry = Geometry::of_file(size_bytes);
    Disk {
        path: path.into(),
        identity: Identity {
            serial: Some(serial.into()),
            wwn: None,
            model: Some(model.into()),
            location: None,
            size_bytes,
            fingerprint: Fingerprint([7; 32]),
            file: None,
        },
        transport: Transport::Other,
        vendor: None,
        firmware: None,
        health: None,
        geometry,
        rotational: None,
        read_only: false,
        removable: false,
        boot_medium: false,
        uses: Vec::new(),
        layout: Ok(gpt(size_bytes, Vec::new())),
        systems: Vec::new(),
    }
}

fn gpt(size_bytes: u64, partitions: Vec<Region>) -> Layout {
    let named = partitions.iter().filter_map(|r| match &r.owner {
        Owner::Partition { partition, .. } => Some(partition.clone()),
        _ => None,
    });
    let table = Table {
        scheme: Scheme::Gpt,
        id: "5C6E1C0A-9F0B-4A6E-8B58-3F1B1E8B7A01".into(),
        sector_size: 512,
        partitions: named.collect(),
        own: ExtentMap::new(),
        notes: Vec::new(),
        trusted: true,
    };
    let mut regions = Vec::new();
    let mut at = 0;
    for region in partitions {
        if let Some(gap) = Extent::between(at, region.extent.start()) {
            regions.push(Region {
                extent: gap,
                owner: if at == 0 { Owner::Table } else { Owner::Gap },
            });
        }
        at = region.extent.end();
        regions.push(region);
    }
    regions.extend(Extent::between(at, size_bytes).map(|extent| Region {
        extent,
        owner: Owner::Gap,
    }));
    Layout {
        geometry: Geometry::of_file(size_bytes),
        table: Some(table),
        regions,
        notes: Vec::new(),
    }
}

fn partition(number: u32, start: u64, len: u64, kind: &str, inside: Option<Filesystem>) -> Region {
    let extent = Extent::new(start, len).unwrap();
    let partition = Partition {
        number,
        extent,
        type_id: String::new(),
        type_name: Some(kind.into()),
        uuid: None,
        name: None,
        attributes: 0,
        role: Role::Primary,
    };
    let content = match inside {
        Some(filesystem) => Content::Filesystem(filesystem),
        None => Content::Unknown("no filesystem that is known here".into()),
    };
    Region {
        extent,
        owner: Owner::Partition { partition, content },
    }
}

fn filesystem(kind: &str, label: &str, size_bytes: u64, used: u64) -> Filesystem {
    Filesystem {
        kind: kind.into(),
        variant: (kind == "vfat").then(|| "FAT32".into()),
        label: (!label.is_empty()).then(|| label.into()),
        uuid: Some(format!("{kind}-0001")),
        block_size: 4096,
        size_bytes,
        state: State::Clean,
        used: Used::Map {
            basis: Basis::Records,
            extents: vec![Extent::new(0, used).unwrap()].into(),
        },
        parts: Box::default(),
    }
}

pub fn disks() -> Vec<Disk> {
    vec![system_disk(), empty_disk(), usb_disk(), boot_stick()]
}

/// Drives the program by keys and answers, without doing anything.
pub struct Driver {
    pub app: App,
}

impl Driver {
    pub fn on(columns: u16, rows: u16, theme: Theme) -> Driver {
        let terminal = Terminal {
            columns,
            rows,
            theme,
        };
        let mut driver = Driver {
            app: App::new(Home::Medium, terminal),
        };
        driver.see(disks());
        driver
    }

    pub fn small() -> Driver {
        Driver::on(80, 24, Theme::CONSOLE)
    }

    pub fn see(&mut self, disks: Vec<Disk>) -> Option<Effect> {
        let disks = disks.into_iter().map(Arc::new).collect();
        self.tell(Message::Inventory(Inventory::Known(disks)))
    }

    pub fn tell(&mut self, message: Message) -> Option<Effect> {
        self.app.update(message)
    }

    pub fn key(&mut self, key: Key) -> Option<Effect> {
        self.tell(Message::Key(key))
    }

    pub fn keys(&mut self, keys: &[Key]) -> Option<Effect> {
        let mut last = None;
        for key in keys {
            last = self.key(*key);
        }
        last
    }

    pub fn type_in(&mut self, text: &str) {
        for c in text.chars() {
            assert!(self.key(Key::Char(c)).is_none());
        }
    }

    pub fn event(&mut self, event: Event) {
        assert!(self.tell(Message::Job(event)).is_none());
    }

    /// The request that the last key asked a plan for.
    #[track_caller]
    pub fn asked(effect: Option<Effect>) -> Request {
        match effect {
            Some(Effect::Prepare(request)) => *request,
            other => panic!("no plan was asked for, but {other:?}"),
        }
    }

    pub fn plan(&mut self, request: &Request, plan: Plan) {
        let message = Message::Planned {
            request: Box::new(request.clone()),
            result: Ok(Box::new(plan)),
        };
        assert!(self.tell(message).is_none());
    }

    pub fn refuse(&mut self, request: &Request, refusals: Vec<Refusal>) {
        let message = Message::Planned {
            request: Box::new(request.clone()),
            result: Err(refusals),
        };
        assert!(self.tell(message).is_none());
    }

    /// The screen as text, without trailing spaces.
    pub fn text(&self) -> String {
        let terminal = self.app.world.terminal;
        let area = Rect::new(0, 0, terminal.columns, terminal.rows);
        let mut buf = Buffer::empty(area);
        self.app.draw(area, &mut buf);
        let mut text = String::new();
        for y in 0..area.height {
            let row: String = (0..area.width).map(|x| buf[(x, y)].symbol()).collect();
            text.push_str(row.trim_end());
            text.push('\n');
        }
        text
    }

    #[track_caller]
    pub fn shows(&self, words: &str) {
        let text = self.text();
        let flat = text.replace(['│', '║', '\n'], " ");
        let flat: Vec<&str> = flat.split_whitespace().collect();
        assert!(
            flat.join(" ").contains(words),
            "'{words}' is not on the screen:\n{text}"
        );
    }
}

/// A plan as the engine makes it for this request, on this computer.
pub fn plan(request: &Request) -> Plan {
    let (source, destination) = match &request.action {
        Action::Image { .. } => (Some(system_disk()), None),
        Action::Clone { .. } => (Some(system_disk()), Some(empty_disk())),
        Action::Restore { .. } => (None, Some(empty_disk())),
        Action::Verify { .. } => (None, Some(system_disk())),
        Action::Check { .. }
        | Action::Extract { .. }
        | Action::Serve { .. }
        | Action::Mount { .. }
        | Action::Export { .. }
        | Action::Merge { .. }
        | Action::Mend { .. }
        | Action::Prune { .. } => (None, None),
    };
    let shown = Shown {
        used: system_disk().layout.unwrap().used(),
        lines: [
            "clone what is in use: 361 GB of 1.0 TB",
            "source: /dev/nvme0n1 (Samsung SSD 980 PRO 1TB, serial S5GXNX0T123456K), NVMe, 1.0 TB",
            "  GPT table, 5 partitions",
            "  partition 1: 110 MB, FAT32 'SYSTEM'",
            "  partition 3: 640 GB, ntfs 'Windows'",
            "  holds Windows 11",
            "destination, everything on it will be lost: /dev/sda (WDC WD20EZRZ-00Z5HB0, serial WD-WCC4M5KX9F2A), SATA, 2.0 TB",
            "  no partition table and no filesystem that is known here",
            "1.0 TB behind the copy stay unused",
            &format!("command: {request}"),
        ]
        .map(str::to_owned)
        .to_vec(),
        warnings: vec![
            "partition 3 (ntfs, Windows) is hibernated: it is copied as it is; wake that Windows only from one of the two disks".into(),
        ],
        source,
        destination,
    };
    Plan::shown(request, shown)
}

pub fn report(command: &str, outcome: Outcome) -> Report {
    let disk = |role, disk: Disk, written| DiskReport {
        role,
        identity: disk.identity,
        sectors_written: Some(written),
        kernel_read_only: Some(role != DiskRole::Destination),
    };
    Report {
        outcome,
        seconds: 2832.4,
        read_bytes: 361_204_000_000,
        written_bytes: 361_204_000_000,
        used_bytes: 361_204_000_000,
        verified: Verified::Equal {
            bytes: 361_204_000_000,
        },
        disks: vec![
            disk(DiskRole::Source, system_disk(), 0),
            disk(DiskRole::Destination, empty_disk(), 705_476_562),
            disk(DiskRole::Bystander, usb_disk(), 0),
        ],
        ..Report::of(command)
    }
}

pub fn store_path() -> PathBuf {
    "/mnt/backup".into()
}
