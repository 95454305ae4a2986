//! Random bytes from the kernel.

use image::digest::ImageId;

/// As `getrandom(2)` gives them: it waits until the kernel has enough.
pub fn fill(bytes: &mut [u8]) -> Result<(), String> {
    let mut at = 0;
    while at < bytes.len() {
        let given =
            rustix::rand::getrandom(&mut bytes[at..], rustix::rand::GetRandomFlags::empty());
        match given {
            Ok(count) => at += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(format!("the kernel gives no random bytes: {error}")),
        }
    }
    Ok(())
}

pub fn id() -> Result<ImageId, String> {
    let mut id = ImageId([0; 16]);
    fill(&mut id.0)?;
    Ok(id)
}
