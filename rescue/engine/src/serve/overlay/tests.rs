use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};
use proptest::test_runner::Config;

use super::*;

/// A disk in memory whose every second cell is a hole.
struct Made(Vec<u8>);

impl BlockSource for Made {
    fn geometry(&self) -> Geometry {
        Geometry::of_file(self.0.len() as u64)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let at = usize::try_from(offset).unwrap();
        buf.copy_from_slice(&self.0[at..at + buf.len()]);
        Ok(())
    }
}

impl Content for Made {
    fn run_at(&self, offset: u64) -> Result<Run, ReadError> {
        let cell = offset / CELL;
        Ok(Run {
            end: ((cell + 1) * CELL).min(self.size_bytes()),
            allocation: match cell % 2 {
                0 => Allocation::Data,
                _ => Allocation::Hole,
            },
        })
    }
}

const SIZE: usize = 7 * CELL_BYTES + 1536;

fn made() -> (Overlay<Made>, Vec<u8>) {
    let bytes: Vec<u8> = (0..SIZE)
        .map(|at| match at as u64 / CELL % 2 {
            0 => u8::try_from(at % 251).unwrap(),
            _ => 0,
        })
        .collect();
    let file = tempfile::tempfile().unwrap();
    (Overlay::new(Made(bytes.clone()), file), bytes)
}

#[derive(Clone, Debug)]
enum Act {
    Write(u8),
    Zero,
    Trim,
}

fn act() -> impl Strategy<Value = (usize, usize, Act)> {
    let what = prop_oneof![
        any::<u8>().prop_map(Act::Write),
        Just(Act::Zero),
        Just(Act::Trim)
    ];
    (0..SIZE, 1..3 * CELL_BYTES, what)
}

proptest! {
    #![proptest_config(Config::with_cases(64))]

    /// A trim may only make zeros of whole cells.
    #[test]
    fn an_overlay_reads_as_a_disk_that_was_written(acts in prop::collection::vec(act(), 1..30)) {
        let (overlay, mut expected) = made();
        for (at, len, act) in acts {
            let len = len.min(SIZE - at);
            let place = at..at + len;
            let (offset, bytes) = (at as u64, len as u64);
            match act {
                Act::Write(byte) => {
                    overlay.write_at(offset, &vec![byte; len]).unwrap();
                    expected[place].fill(byte);
                }
                Act::Zero => {
                    overlay.zero_at(offset, bytes).unwrap();
                    expected[place].fill(0);
                }
                Act::Trim => {
                    overlay.trim(offset, bytes).unwrap();
                    let cell = CELL_BYTES;
                    let first = at.next_multiple_of(cell);
                    let end = if place.end == SIZE { SIZE } else { place.end / cell * cell };
                    if first < end {
                        expected[first..end].fill(0);
                    }
                }
            }
        }
        let mut got = vec![0; SIZE];
        overlay.read_at(0, &mut got).unwrap();
        assert!(got == expected);
        let mut at = 0;
        while at < SIZE {
            let run = overlay.run_at(at as u64).unwrap();
            let end = usize::try_from(run.end).unwrap();
            assert!(end > at && end <= SIZE);
            let zeros = got[at..end].iter().all(|byte| *byte == 0);
            assert!(run.allocation == Allocation::Data || zeros, "{run:?} at {at}");
            at = end;
        }
    }
}

#[test]
fn what_leaves_the_disk_is_refused() {
    let (overlay, _) = made();
    let size = SIZE as u64;
    assert!(overlay.write_at(size - 1, &[1, 2]).is_err());
    assert!(overlay.zero_at(1, size).is_err());
    assert!(overlay.read_at(size, &mut [0]).is_err());
    assert!(overlay.write_at(size, &[]).is_ok());
}

#[test]
fn the_file_takes_places_again_that_were_given_back() {
    let (overlay, _) = made();
    for _ in 0..20 {
        overlay.write_at(0, &vec![7; 3 * CELL_BYTES]).unwrap();
        overlay.zero_at(0, 3 * CELL).unwrap();
    }
    assert!(overlay.file.metadata().unwrap().len() <= 3 * CELL);
}
