//! What smartmontools found, as its JSON says it: it knows bridges and drives that our own commands do not reach.

use serde_json::Value;

use super::{Health, Verdict, plausible};

impl Health {
    /// From `smartctl --json --all`; `None` where it learned nothing.
    pub fn of_smartctl(report: &Value) -> Option<Health> {
        let at = |path: &str| report.pointer(path);
        let number = |path: &str| at(path).and_then(Value::as_u64);
        let health = Health {
            verdict: match at("/smart_status/passed").and_then(Value::as_bool) {
                Some(true) => Verdict::Good,
                Some(false) => Verdict::Failing,
                None => Verdict::Unknown,
            },
            celsius: at("/temperature/current")
                .and_then(Value::as_i64)
                .and_then(|celsius| i32::try_from(celsius).ok())
                .and_then(plausible),
            hours: number("/power_on_time/hours"),
            starts: number("/power_cycle_count"),
            reallocated: attribute(report, 5).or(number("/scsi_grown_defect_list")),
            pending: attribute(report, 197),
            uncorrectable: attribute(report, 187)
                .max(attribute(report, 198))
                .or(number("/nvme_smart_health_information_log/media_errors"))
                .or(number(
                    "/scsi_error_counter_log/read/total_uncorrected_errors",
                )),
            transfer_errors: attribute(report, 199),
            worn_percent: number("/nvme_smart_health_information_log/percentage_used")
                .and_then(|percent| u8::try_from(percent).ok()),
            warnings: Vec::new(),
        };
        (!health.is_empty()).then_some(health)
    }
}

/// The raw value of an ATA attribute; what smartmontools shows of one that packs several.
fn attribute(report: &Value, id: u64) -> Option<u64> {
    let table = report
        .pointer("/ata_smart_attributes/table")
        .and_then(Value::as_array)?;
    let one = table
        .iter()
        .find(|one| one.pointer("/id").and_then(Value::as_u64) == Some(id))?;
    let shown = one.pointer("/raw/string").and_then(Value::as_str);
    let first = shown.and_then(|text| text.split_whitespace().next()?.parse().ok());
    first.or_else(|| one.pointer("/raw/value").and_then(Value::as_u64))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn its_report_says_the_same_as_the_drive() {
        let report = json!({
            "smart_status": { "passed": false },
            "temperature": { "current": 44 },
            "power_on_time": { "hours": 99 },
            "power_cycle_count": 7,
            "ata_smart_attributes": { "table": [
                { "id": 5, "raw": { "value": 4_294_967_320u64, "string": "24 (1 0)" } },
                { "id": 198, "raw": { "value": 3 } },
            ] },
        });
        let health = Health::of_smartctl(&report).unwrap();
        assert_eq!(
            health,
            Health {
                verdict: Verdict::Failing,
                celsius: Some(44),
                hours: Some(99),
                starts: Some(7),
                reallocated: Some(24),
                uncorrectable: Some(3),
                ..Health::default()
            }
        );
    }

    #[test]
    fn a_report_of_nothing_is_no_health() {
        for report in [
            json!({}),
            json!([1, 2]),
            json!({ "ata_smart_attributes": { "table": "x" } }),
            json!({ "smartctl": { "exit_status": 2 } }),
        ] {
            assert_eq!(Health::of_smartctl(&report), None);
        }
    }
}
