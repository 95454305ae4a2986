//! The main job by keys alone: what a person does in front of the booted PC, from the menu to switching it off.

use crate::drive::{Bus, Drive};
use crate::failure::{Failure, Outcome, ensure};
use crate::firmware::Firmware;
use crate::lab::Lab;
use crate::machine::{BOOT_WITHIN, Machine, Running};
use crate::seat::{Key, Seat};
use crate::tests::system::{JOB_WITHIN, SWITCHED_OFF_WITHIN, System, store};

/// Imaged at a serial line, restored at the PC's own screen and keyboard.
pub fn gpt_system_imaged_and_restored_by_keys(lab: &Lab) -> Outcome {
    let system = System::get(lab, "gpt", Firmware::Uefi)?;
    let (store, target) = (store(lab)?, lab.blank("target.img", 1500)?);
    let case = Drive::new(Bus::Usb, &store, "STORE-0002");

    let mut seat = Seat::at_the_line(booted(
        lab,
        Firmware::Uefi,
        &[system.source(), case.clone()],
    )?);
    image(&mut seat)?;
    take_out(&mut seat)?;
    switch_off(seat)?;
    system.assert_untouched()?;
    assert_taken_out(lab)?;

    let nvme = Drive::new(Bus::Nvme, &target, "TARGET-7A21");
    let mut seat = Seat::at_the_screen(booted(lab, Firmware::Uefi, &[case, nvme])?)?;
    restore(&mut seat)?;
    switch_off(seat)?;
    system.assert_boots(lab, Bus::Nvme, &target)
}

/// On a text screen of 80 columns and 25 rows.
pub fn mbr_system_cloned_by_keys(lab: &Lab) -> Outcome {
    let system = System::get(lab, "mbr", Firmware::Bios)?;
    let target = lab.blank("target.img", 1500)?;
    let drives = [
        system.source(),
        Drive::new(Bus::Nvme, &target, "TARGET-7A21"),
    ];
    let mut seat = Seat::at_the_screen(booted(lab, Firmware::Bios, &drives)?)?;
    seat.see_within("What do you want to do?", BOOT_WITHIN)?;
    seat.press(Key::Letter('2'))?;
    seat.see("Disk to copy from")?;
    seat.choose("..0001")?;
    seat.see("Disk to write to")?;
    seat.choose("..7A21")?;
    agree_with_word(&mut seat, "TARGET-7A21")?;
    finish(&mut seat, "Done. The clone is complete.")?;
    switch_off(seat)?;
    system.assert_untouched()?;
    system.assert_boots(lab, Bus::Ahci, &target)
}

/// From the CD, as the product is, beside it a shell that only looks.
fn booted(lab: &Lab, firmware: Firmware, drives: &[Drive]) -> Outcome<Running> {
    let medium = Drive::medium(Bus::Cd, &lab.image.iso).first_to_boot();
    let machine = Machine::new(firmware)
        .drive(medium)
        .job("rescue.shell=hvc0\n");
    lab.start(&drives.iter().cloned().fold(machine, Machine::drive))
}

fn image(seat: &mut Seat) -> Outcome {
    seat.see_within("What do you want to do?", BOOT_WITHIN)?;
    seat.press(Key::Letter('1'))?;
    seat.see("Disk to copy from")?;
    seat.choose("..0001")?;
    seat.see("Where the image is put")?;
    seat.choose("STORE")?;
    seat.see("Settings")?;
    seat.press(Key::Clear)?;
    seat.type_in("pc")?;
    seat.press(Key::Enter)?;
    seat.see("nothing has been written yet")?;
    // The last line is drawn last: then the others are there too.
    let plan = seat.see("Enter start")?.join("\n");
    ensure(
        plan.contains("SOURCE-0001") && plan.contains("image serial:SOURCE-0001"),
        || format!("the plan does not say what will be done:\n{plan}"),
    )?;
    // Nothing that is there is overwritten, so there is no word to type.
    seat.press(Key::Enter)?;
    let report = finish(seat, "Done. The image is complete.")?;
    let source = report
        .iter()
        .find(|row| row.contains("source ") && row.contains("SOURCE-0001,"));
    ensure(
        source.is_some_and(|row| row.split_whitespace().any(|word| word == "0")),
        || {
            format!(
                "the report does not show an untouched source:\n{}",
                report.join("\n")
            )
        },
    )
}

/// One file out of the image, which lies on the same disk.
fn take_out(seat: &mut Seat) -> Outcome {
    seat.press(Key::Enter)?;
    seat.see("What do you want to do?")?;
    seat.press(Key::Letter('6'))?;
    seat.see("Where the image is")?;
    seat.choose("STORE")?;
    seat.choose("pc.img.zst")?;
    seat.choose("2/")?;
    seat.see("boot/")?;
    seat.choose("etc/")?;
    seat.see("adduser.conf")?;
    seat.point_at("debian_version")?;
    seat.press(Key::Letter(' '))?;
    seat.see("1 marked")?;
    seat.screenshot("files")?;
    seat.press(Key::Letter('c'))?;
    seat.see("Where the files are put")?;
    seat.choose("STORE")?;
    seat.see("nothing has been written yet")?;
    seat.press(Key::Enter)?;
    seat.see_within("Done. The files are copied.", JOB_WITHIN)?;
    Ok(())
}

/// The tools that know ext4 find the same text on both disks.
fn assert_taken_out(lab: &Lab) -> Outcome {
    const STORE_AT: u64 = 1 << 20;
    const ROOT_AT: u64 = 65 << 20;
    let text = |disk: &str, at: u64, path: &str| {
        let disk = format!("{disk}?offset={at}");
        lab.tool(
            "e2fsprogs",
            "debugfs",
            &["-R", &format!("cat {path}"), &disk],
        )
    };
    let wanted = text("system.img", ROOT_AT, "/etc/debian_version")?;
    let taken = text("store.img", STORE_AT, "/debian_version")?;
    ensure(!wanted.is_empty() && taken == wanted, || {
        format!("{taken:?} was taken out instead of {wanted:?}")
    })
}

fn restore(seat: &mut Seat) -> Outcome {
    seat.see_within("What do you want to do?", BOOT_WITHIN)?;
    seat.press(Key::Letter('3'))?;
    seat.see("Where the image is")?;
    seat.choose("STORE")?;
    seat.choose("pc.img.zst")?;
    refused_onto_its_own_store(seat)?;
    seat.see("Disk to write to")?;
    seat.choose("..7A21")?;
    agree_with_word(seat, "TARGET-7A21")?;
    finish(seat, "Done. The disk is restored.")?;
    Ok(())
}

/// The disk that holds the image is refused for this reason, which is not hidden among what we did to it ourselves.
fn refused_onto_its_own_store(seat: &mut Seat) -> Outcome {
    seat.see("Disk to write to")?;
    seat.choose("..0002")?;
    seat.see("Settings")?;
    seat.press(Key::Enter)?;
    seat.see("This cannot be done")?;
    let reasons = seat.see("r try again")?.join("\n");
    seat.screenshot("refused")?;
    ensure(
        reasons.contains("holds the image")
            && !reasons.contains("is in use")
            && !reasons.contains("write-protected"),
        || format!("restoring over the image's own disk is refused so:\n{reasons}"),
    )?;
    seat.press(Key::Escape)?;
    seat.see("Settings")?;
    seat.press(Key::Escape)
}

/// Through the settings and the plan to the word, which is taken from the screen. A wrong one is tried first.
fn agree_with_word(seat: &mut Seat, serial: &str) -> Outcome {
    seat.see("Settings")?;
    seat.press(Key::Enter)?;
    seat.see("nothing has been written yet")?;
    seat.screenshot("plan")?;
    seat.press(Key::Enter)?;
    seat.see("type the last four characters of its serial number")?;
    let page = seat.see("back, nothing is written")?;
    seat.type_in("yes")?;
    seat.press(Key::Enter)?;
    seat.see("'yes' is not it; nothing was written")?;
    seat.screenshot("consent")?;
    let shown = page
        .iter()
        .find_map(|row| row.split_once("Serial number"))
        .map(|(_, rest)| rest.trim_matches([' ', '│', '║', '|']).trim().to_owned());
    let shown = shown.ok_or_else(|| Failure::new("the consent shows no serial number"))?;
    ensure(shown == serial, || {
        format!("the consent shows the serial number {shown:?} instead of {serial}")
    })?;
    seat.type_in(&shown[shown.len() - 4..])?;
    seat.press(Key::Enter)
}

/// Waits for the report, which says that all went well.
fn finish(seat: &mut Seat, words: &str) -> Outcome<Vec<String>> {
    seat.see("The disk, from its first to its last sector")?;
    seat.screenshot("running")?;
    seat.see_within("Report", JOB_WITHIN)?;
    seat.see(words)?;
    let report = seat.see("save the report")?;
    seat.screenshot("report")?;
    Ok(report)
}

fn switch_off(mut seat: Seat) -> Outcome {
    seat.press(Key::Enter)?;
    seat.see("What do you want to do?")?;
    seat.choose("Switch off")?;
    seat.see("Switch the computer off now?")?;
    seat.press(Key::Letter('y'))?;
    seat.pc.ended(SWITCHED_OFF_WITHIN)
}
