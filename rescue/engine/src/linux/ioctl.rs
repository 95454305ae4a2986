//! What the kernel tells and does about a block device only by ioctl: the engine's one place with `unsafe`.

use std::fs::File;
use std::os::fd::AsRawFd;

use disk::extent::Extent;
use nix::libc;
use nix::{
    Result, ioctl_none_bad, ioctl_read, ioctl_read_bad, ioctl_readwrite, ioctl_readwrite_bad,
    ioctl_write_ptr, ioctl_write_ptr_bad, request_code_none,
};

// Numbers and argument types as in <linux/fs.h>, <linux/blkpg.h>, <scsi/sg.h>, <linux/nvme_ioctl.h> and
// fs/ext4/ext4.h.
ioctl_read!(blkgetsize64, 0x12, 114, u64);
ioctl_read_bad!(blksszget, request_code_none!(0x12, 104), libc::c_int);
ioctl_read_bad!(blkpbszget, request_code_none!(0x12, 123), libc::c_uint);
ioctl_read_bad!(blkroget, request_code_none!(0x12, 94), libc::c_int);
ioctl_write_ptr_bad!(blkroset, request_code_none!(0x12, 93), libc::c_int);
ioctl_none_bad!(blkrrpart, request_code_none!(0x12, 95));
ioctl_none_bad!(blkflsbuf, request_code_none!(0x12, 97));
ioctl_write_ptr_bad!(blkzeroout, request_code_none!(0x12, 127), [u64; 2]);
ioctl_write_ptr!(ext4_resize, b'f', 16, u64);
ioctl_readwrite_bad!(sg_io, 0x2285, SgHeader);
ioctl_none_bad!(nvme_id, request_code_none!(b'N', 0x40));
ioctl_readwrite!(nvme_admin, b'N', 0x41, NvmeCommand);
ioctl_readwrite!(nvme_io, b'N', 0x43, NvmeCommand);
ioctl_write_ptr_bad!(blkpg, request_code_none!(0x12, 105), PartitionCall);

/// `struct sg_io_hdr` of <scsi/sg.h>.
#[repr(C)]
pub struct SgHeader {
    interface_id: libc::c_int,
    dxfer_direction: libc::c_int,
    cmd_len: libc::c_uchar,
    mx_sb_len: libc::c_uchar,
    iovec_count: libc::c_ushort,
    dxfer_len: libc::c_uint,
    dxferp: *mut libc::c_void,
    cmdp: *const libc::c_uchar,
    sbp: *mut libc::c_uchar,
    timeout: libc::c_uint,
    flags: libc::c_uint,
    pack_id: libc::c_int,
    usr_ptr: *mut libc::c_void,
    status: libc::c_uchar,
    masked_status: libc::c_uchar,
    msg_status: libc::c_uchar,
    sb_len_wr: libc::c_uchar,
    host_status: libc::c_ushort,
    driver_status: libc::c_ushort,
    resid: libc::c_int,
    duration: libc::c_uint,
    info: libc::c_uint,
}

/// How a SCSI command ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScsiEnd {
    /// 0 good, 2 check condition (SAM).
    pub status: u8,
    /// What the bus adapter says (`DID_…`), 0 if nothing went wrong on the way.
    pub host_status: u16,
    /// Sense data, as far as there is any.
    pub sense: Vec<u8>,
    /// Bytes that did not arrive.
    pub missing: usize,
}

/// What goes with a SCSI command.
pub enum ScsiData<'a> {
    None,
    In(&'a mut [u8]),
    /// Parameters of the command; nothing of the medium.
    Out(&'a [u8]),
}

/// `struct nvme_passthru_cmd`.
#[derive(Default)]
#[repr(C)]
pub struct NvmeCommand {
    opcode: u8,
    flags: u8,
    reserved: u16,
    namespace: u32,
    cdw2: u32,
    cdw3: u32,
    metadata: u64,
    address: u64,
    metadata_len: u32,
    data_len: u32,
    /// Command words 10 to 15.
    words: [u32; 6],
    timeout_millis: u32,
    result: u32,
}

impl NvmeCommand {
    /// `words` are command words 10 to 12.
    pub fn new(opcode: u8, namespace: u32, words: [u32; 3], timeout_millis: u32) -> NvmeCommand {
        let [ten, eleven, twelve] = words;
        NvmeCommand {
            opcode,
            namespace,
            words: [ten, eleven, twelve, 0, 0, 0],
            timeout_millis,
            ..NvmeCommand::default()
        }
    }
}

/// Which queue of an NVMe drive a command is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NvmeQueue {
    Admin,
    Io,
}

/// `struct blkpg_ioctl_arg`.
#[repr(C)]
pub struct PartitionCall {
    op: libc::c_int,
    flags: libc::c_int,
    datalen: libc::c_int,
    data: *mut PartitionArgument,
}

/// `struct blkpg_partition`.
#[repr(C)]
struct PartitionArgument {
    start: libc::c_longlong,
    length: libc::c_longlong,
    number: libc::c_int,
    device_name: [u8; 64],
    volume_name: [u8; 64],
}

pub fn size_bytes(device: &File) -> Result<u64> {
    let mut size = 0;
    // SAFETY: BLKGETSIZE64 writes one u64 where the pointer says; `size` lives until the call returns.
    unsafe { blkgetsize64(device.as_raw_fd(), &raw mut size) }?;
    Ok(size)
}

pub fn logical_sector(device: &File) -> Result<u32> {
    let mut size = 0;
    // SAFETY: BLKSSZGET writes one int where the pointer says.
    unsafe { blksszget(device.as_raw_fd(), &raw mut size) }?;
    Ok(size.unsigned_abs())
}

pub fn physical_sector(device: &File) -> Result<u32> {
    let mut size = 0;
    // SAFETY: BLKPBSZGET writes one unsigned int where the pointer says.
    unsafe { blkpbszget(device.as_raw_fd(), &raw mut size) }?;
    Ok(size)
}

pub fn is_read_only(device: &File) -> Result<bool> {
    let mut flag = 0;
    // SAFETY: BLKROGET writes one int where the pointer says.
    unsafe { blkroget(device.as_raw_fd(), &raw mut flag) }?;
    Ok(flag != 0)
}

pub fn set_read_only(device: &File, on: bool) -> Result<()> {
    let flag = libc::c_int::from(on);
    // SAFETY: BLKROSET reads one int through the pointer.
    unsafe { blkroset(device.as_raw_fd(), &raw const flag) }?;
    Ok(())
}

pub fn reread_table(device: &File) -> Result<()> {
    // SAFETY: BLKRRPART takes no argument.
    unsafe { blkrrpart(device.as_raw_fd()) }?;
    Ok(())
}

/// Writes back and forgets what the page cache holds of the device.
pub fn flush_buffers(device: &File) -> Result<()> {
    // SAFETY: BLKFLSBUF takes no argument.
    unsafe { blkflsbuf(device.as_raw_fd()) }?;
    Ok(())
}

/// Makes a range read as zeros, by the device itself where it can.
pub fn zero_out(device: &File, offset: u64, len: u64) -> Result<()> {
    let range = [offset, len];
    // SAFETY: BLKZEROOUT reads two u64 through the pointer.
    unsafe { blkzeroout(device.as_raw_fd(), &raw const range) }?;
    Ok(())
}

/// Grows the mounted ext4 filesystem that holds `file` to this many blocks.
pub fn grow_ext4(file: &File, blocks: u64) -> Result<()> {
    // SAFETY: EXT4_IOC_RESIZE_FS reads one u64 through the pointer.
    unsafe { ext4_resize(file.as_raw_fd(), &raw const blocks) }?;
    Ok(())
}

/// Sends a SCSI command and waits for its end.
pub fn scsi(
    device: &File,
    command: &[u8; 16],
    data: ScsiData<'_>,
    timeout_millis: u32,
) -> Result<ScsiEnd> {
    // SG_DXFER_NONE, SG_DXFER_FROM_DEV and SG_DXFER_TO_DEV. The kernel only reads what goes to the drive.
    let (direction, address, len) = match data {
        ScsiData::None => (-1, std::ptr::null_mut(), 0),
        ScsiData::In(buffer) => (-3, buffer.as_mut_ptr(), buffer.len()),
        ScsiData::Out(buffer) => (-2, buffer.as_ptr().cast_mut(), buffer.len()),
    };
    let mut sense = [0; 64];
    let mut header = SgHeader {
        interface_id: libc::c_int::from(b'S'),
        dxfer_direction: direction,
        cmd_len: 16,
        mx_sb_len: 64,
        iovec_count: 0,
        dxfer_len: u32::try_from(len).map_err(|_| nix::errno::Errno::EINVAL)?,
        dxferp: address.cast(),
        cmdp: command.as_ptr(),
        sbp: sense.as_mut_ptr(),
        timeout: timeout_millis,
        flags: 0,
        pack_id: 0,
        usr_ptr: std::ptr::null_mut(),
        status: 0,
        masked_status: 0,
        msg_status: 0,
        sb_len_wr: 0,
        host_status: 0,
        driver_status: 0,
        resid: 0,
        duration: 0,
        info: 0,
    };
    // SAFETY: SG_IO reads `cmd_len` bytes of the command; by the direction it writes or reads at most `dxfer_len`
    // bytes of the buffer, and it writes `mx_sb_len` bytes of sense; all of them and the header live until the
    // call returns.
    unsafe { sg_io(device.as_raw_fd(), &raw mut header) }?;
    let told = usize::from(header.sb_len_wr).min(sense.len());
    Ok(ScsiEnd {
        status: header.status,
        host_status: header.host_status,
        sense: sense[..told].to_vec(),
        missing: usize::try_from(header.resid).unwrap_or(0).min(len),
    })
}

/// The number of the namespace that a block device of an NVMe drive is.
pub fn nvme_namespace(device: &File) -> Result<u32> {
    // SAFETY: NVME_IOCTL_ID takes no argument and answers with the number.
    let id = unsafe { nvme_id(device.as_raw_fd()) }?;
    Ok(id.unsigned_abs())
}

/// Sends an NVMe command that reads into `buffer`; what it answers is the status of the NVMe specification, 0 for
/// success.
pub fn nvme_read(
    device: &File,
    queue: NvmeQueue,
    mut command: NvmeCommand,
    buffer: &mut [u8],
) -> Result<u16> {
    command.address = buffer.as_mut_ptr() as u64;
    command.data_len = u32::try_from(buffer.len()).map_err(|_| nix::errno::Errno::EINVAL)?;
    // SAFETY: the driver reads and writes one `nvme_passthru_cmd` and, for the commands of our callers (read,
    // identify, log page), writes at most `data_len` bytes at `address`; both live until the call returns.
    let status = unsafe {
        match queue {
            NvmeQueue::Admin => nvme_admin(device.as_raw_fd(), &raw mut command),
            NvmeQueue::Io => nvme_io(device.as_raw_fd(), &raw mut command),
        }
    }?;
    Ok(u16::try_from(status).unwrap_or(u16::MAX))
}

pub fn add_partition(disk: &File, number: u32, extent: Extent) -> Result<()> {
    const BLKPG_ADD_PARTITION: libc::c_int = 1;
    partition(
        disk,
        BLKPG_ADD_PARTITION,
        number,
        extent.start(),
        extent.len(),
    )
}

/// Only the kernel's entry; nothing on the disk changes.
pub fn forget_partition(disk: &File, number: u32) -> Result<()> {
    const BLKPG_DEL_PARTITION: libc::c_int = 2;
    partition(disk, BLKPG_DEL_PARTITION, number, 0, 0)
}

fn partition(disk: &File, op: libc::c_int, number: u32, start: u64, len: u64) -> Result<()> {
    let wide = |n: u64| libc::c_longlong::try_from(n).map_err(|_| nix::errno::Errno::EINVAL);
    let mut argument = PartitionArgument {
        start: wide(start)?,
        length: wide(len)?,
        number: number.try_into().map_err(|_| nix::errno::Errno::EINVAL)?,
        device_name: [0; 64],
        volume_name: [0; 64],
    };
    let call = PartitionCall {
        op,
        flags: 0,
        datalen: libc::c_int::try_from(size_of::<PartitionArgument>())
            .expect("the argument is 152 bytes long"),
        data: &raw mut argument,
    };
    // SAFETY: BLKPG reads one `blkpg_ioctl_arg` and, through its pointer, one `blkpg_partition`; both live until
    // the call returns.
    unsafe { blkpg(disk.as_raw_fd(), &raw const call) }?;
    Ok(())
}
