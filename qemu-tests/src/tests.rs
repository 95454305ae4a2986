//! Every test, by name.

pub(crate) mod boot;
mod buses;
mod consoles;
mod damaged;
mod data;
mod disks;
mod failing;
mod grow;
mod jobs;
mod memory;
mod network;
mod power_cut;
mod pulled;
mod screens;
mod system;
mod touches;
mod volumes;

use crate::runner::{Test, When};

const fn always(name: &'static str, run: fn(&crate::lab::Lab) -> crate::failure::Outcome) -> Test {
    Test {
        name,
        when: When::Always,
        run,
    }
}

const fn all(name: &'static str, run: fn(&crate::lab::Lab) -> crate::failure::Outcome) -> Test {
    Test {
        name,
        when: When::All,
        run,
    }
}

/// The longest first: what is left at the end then runs beside something.
pub const TESTS: &[Test] = &[
    always(
        "gpt_system_imaged_and_restored_by_keys",
        screens::gpt_system_imaged_and_restored_by_keys,
    ),
    always(
        "imaged_checked_and_restored_on_384_mib",
        memory::imaged_checked_and_restored_on_384_mib,
    ),
    always(
        "mbr_system_cloned_and_boots",
        system::mbr_system_cloned_and_boots,
    ),
    always(
        "source_pulled_while_it_is_imaged",
        pulled::source_pulled_while_it_is_imaged,
    ),
    always(
        "what_was_fsynced_before_a_power_cut_is_in_the_image",
        power_cut::what_was_fsynced_before_a_power_cut_is_in_the_image,
    ),
    always(
        "what_was_fsynced_in_volumes_before_a_power_cut_is_in_the_image",
        volumes::what_was_fsynced_in_volumes_before_a_power_cut_is_in_the_image,
    ),
    always(
        "failing_disk_imaged_killed_twice_and_restored",
        damaged::failing_disk_imaged_killed_twice_and_restored,
    ),
    always(
        "no_bad_sector_is_touched_more_than_twice",
        failing::no_bad_sector_is_touched_more_than_twice,
    ),
    all(
        "a_lost_command_does_not_end_the_run",
        failing::a_lost_command_does_not_end_the_run,
    ),
    always(
        "clone_grows_the_last_ext4_partition",
        grow::clone_grows_the_last_ext4_partition,
    ),
    always(
        "secure_boot_usb_without_the_stick",
        boot::secure_boot_usb_without_the_stick,
    ),
    always("bios_usb_on_a_text_screen", boot::bios_usb_on_a_text_screen),
    always(
        "uefi_cd_with_a_usb_keyboard",
        boot::uefi_cd_with_a_usb_keyboard,
    ),
    always("every_bus_on_384_mib", disks::every_bus_on_384_mib),
    always(
        "unattended_job_switches_off",
        jobs::unattended_job_switches_off,
    ),
    all(
        "mbr_system_goes_over_every_bus_and_boots",
        buses::mbr_system_goes_over_every_bus_and_boots,
    ),
    all(
        "an_address_is_had_on_every_wired_card",
        network::an_address_is_had_on_every_wired_card,
    ),
    all(
        "gpt_system_imaged_restored_and_boots",
        system::gpt_system_imaged_restored_and_boots,
    ),
    all(
        "mbr_system_imaged_restored_and_boots",
        system::mbr_system_imaged_restored_and_boots,
    ),
    all(
        "mbr_image_flashed_by_bmaptool_boots",
        system::mbr_image_flashed_by_bmaptool_boots,
    ),
    all(
        "gpt_system_cloned_and_boots",
        system::gpt_system_cloned_and_boots,
    ),
    all(
        "mbr_system_cloned_by_keys",
        screens::mbr_system_cloned_by_keys,
    ),
    all(
        "restore_grows_the_last_ext4_partition",
        grow::restore_grows_the_last_ext4_partition,
    ),
    all("secure_boot_cd", boot::secure_boot_cd),
    all(
        "secure_boot_refuses_a_changed_kernel",
        boot::secure_boot_refuses_a_changed_kernel,
    ),
    all(
        "secure_boot_from_files_on_a_fat_stick",
        boot::secure_boot_from_files_on_a_fat_stick,
    ),
    all("bios_cd", boot::bios_cd),
    all("uefi_usb", boot::uefi_usb),
    all("uefi_safe_graphics", boot::uefi_safe_graphics),
    all("uefi_nvme", boot::uefi_nvme),
    all("uefi_loopback", boot::uefi_loopback),
    all("bios_network", boot::bios_network),
    all("no_serial_port", boot::no_serial_port),
    all(
        "screen_program_that_crashes_is_started_again",
        consoles::screen_program_that_crashes_is_started_again,
    ),
    all("disks_come_and_go", disks::disks_come_and_go),
    all(
        "failed_job_stays_and_shows_why",
        jobs::failed_job_stays_and_shows_why,
    ),
];
