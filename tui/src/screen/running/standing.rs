//! A failing disk while it is rescued: what it gave, what it costs, what more time would bring.

use disk::size::Size;
use engine::event::Standing;
use ratatui::text::{Line, Span};

use crate::theme::Theme;
use crate::widget::text;

pub fn lines(standing: &Standing, theme: Theme) -> Vec<Line<'static>> {
    let cell = |name: &str, value: String, style| {
        [
            Span::raw(text::fit(name, 13)),
            Span::styled(text::fit(&value, 23), style),
        ]
    };
    let strong = theme.strong();
    let two = |a: [Span<'static>; 2], b: [Span<'static>; 2]| Line::from([a, b].concat());
    let pass = match standing.paused {
        true => "paused".to_owned(),
        false => standing.pass.clone(),
    };
    let bad = match standing.bad_bytes {
        0 => strong,
        _ => theme.bad(),
    };
    let heat = standing
        .celsius
        .map_or("not known".into(), |c| format!("{c} degrees"));
    let per_minute = format!("{} a minute", whole(standing.bytes_per_minute));
    let reads = match standing.resets {
        0 => standing.bad_reads.to_string(),
        n => format!("{}, resets {n}", standing.bad_reads),
    };
    vec![
        two(
            cell("Pass", pass, strong),
            cell(
                "Not tried",
                Size(standing.untried_bytes).to_string(),
                strong,
            ),
        ),
        two(
            cell("Unreadable", Size(standing.bad_bytes).to_string(), bad),
            cell("Bad reads", reads, strong),
        ),
        two(
            cell("Gained", per_minute, strong),
            cell("Temperature", heat, strong),
        ),
        Line::from(
            cell(
                "Another hour",
                format!("about {}", Size(standing.next_hour_bytes)),
                strong,
            )
            .to_vec(),
        ),
    ]
}

fn whole(bytes: f64) -> Size {
    let whole = std::time::Duration::try_from_secs_f64(bytes).map_or(0, |d| d.as_secs());
    Size(whole)
}
