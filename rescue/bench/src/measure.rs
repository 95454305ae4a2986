//! Runs one command in a process of its own and tells its wall time, processor time, peak memory and what it read.

use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};

/// First argument of the wrapper process: `getrusage` counts children of one process only, so each measured
/// command gets a parent of its own.
pub const WORD: &str = "--measure-one";

#[derive(Clone, Copy, Debug)]
pub struct Measure {
    pub wall_s: f64,
    pub cpu_s: f64,
    /// Of the largest process of the command.
    pub peak_kib: i64,
    /// Calls that read, and their bytes, whoever had them in memory.
    pub reads: u64,
    pub read_bytes: u64,
}

/// `script` is run by `bash -e -o pipefail`.
pub fn run(script: &str) -> Result<Measure, String> {
    let exe =
        std::env::current_exe().map_err(|e| format!("the program does not find itself: {e}"))?;
    let output = Command::new(exe)
        .args([WORD, script])
        .stderr(Stdio::piped())
        .output()
        .map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let numbers: Vec<f64> = text
        .split_whitespace()
        .filter_map(|w| w.parse().ok())
        .collect();
    let [wall_s, cpu_s, peak_kib, reads, read_bytes] = numbers[..] else {
        return Err(format!(
            "`{script}` failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ));
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "they were printed as whole numbers"
    )]
    Ok(Measure {
        wall_s,
        cpu_s,
        peak_kib: peak_kib as i64,
        reads: reads as u64,
        read_bytes: read_bytes as u64,
    })
}

pub fn wrapper(args: Vec<String>) -> ExitCode {
    let Some(script) = args.first() else {
        return ExitCode::FAILURE;
    };
    let before = read();
    let start = Instant::now();
    let status = Command::new("bash")
        .args(["-e", "-o", "pipefail", "-c", script])
        .stdout(Stdio::null())
        .status();
    let wall_s = start.elapsed().as_secs_f64();
    match (status, getrusage(UsageWho::RUSAGE_CHILDREN)) {
        (Ok(status), Ok(usage)) if status.success() => {
            let seconds = |t: nix::sys::time::TimeVal| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6;
            let after = read();
            println!(
                "{wall_s} {} {} {} {}",
                seconds(usage.user_time()) + seconds(usage.system_time()),
                usage.max_rss(),
                after.0.saturating_sub(before.0),
                after.1.saturating_sub(before.1)
            );
            ExitCode::SUCCESS
        }
        _ => ExitCode::FAILURE,
    }
}

/// Calls and bytes read by this process and by its children that have ended (proc_pid_io(5)).
fn read() -> (u64, u64) {
    let text = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let of = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name));
        value.and_then(|value| value.trim().parse().ok())
    };
    (of("syscr:").unwrap_or(0), of("rchar:").unwrap_or(0))
}
