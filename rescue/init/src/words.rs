//! Words of a line: the kernel's command line, and the commands of a job.

/// The kernel's own rule: white space separates, double quotes keep it together and are dropped.
pub fn kernel_line(line: &str) -> Vec<String> {
    split(line, &['"'], &[])
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
}

/// Commands separated by `;` or a new line; single and double quotes keep words together.
pub fn commands(text: &str) -> Vec<Vec<String>> {
    split(text, &['"', '\''], &[';', '\n'])
        .into_iter()
        .filter(|words| !words.is_empty())
        .collect()
}

/// One list of words for each stretch between `ends`.
fn split(text: &str, quotes: &[char], ends: &[char]) -> Vec<Vec<String>> {
    let mut lines = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut open: Option<char> = None;
    for c in text.chars() {
        if open == Some(c) {
            open = None;
        } else if open.is_none() && quotes.contains(&c) {
            open = Some(c);
            word.get_or_insert_default();
        } else if open.is_none() && (c.is_whitespace() || ends.contains(&c)) {
            if let (Some(done), Some(line)) = (word.take(), lines.last_mut()) {
                line.push(done);
            }
            if ends.contains(&c) {
                lines.push(Vec::new());
            }
        } else {
            word.get_or_insert_default().push(c);
        }
    }
    if let (Some(done), Some(line)) = (word, lines.last_mut()) {
        line.push(done);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, proptest};

    #[test]
    fn quotes_of_the_kernel_line_may_stand_before_the_name_or_before_the_value() {
        let expected = ["quiet", "rescue.run=image serial:A B", "panic=30"];
        assert_eq!(
            kernel_line("quiet rescue.run=\"image serial:A B\" panic=30\n"),
            expected
        );
        assert_eq!(
            kernel_line("quiet \"rescue.run=image serial:A B\" panic=30"),
            expected
        );
    }

    #[test]
    fn commands_are_separated_by_semicolons_and_lines() {
        assert_eq!(
            commands("image serial:A label:S --name 'my disk'; check x\n\n;disks"),
            [
                vec!["image", "serial:A", "label:S", "--name", "my disk"],
                vec!["check", "x"],
                vec!["disks"]
            ]
        );
        assert!(commands(" ;\n; ").is_empty());
    }

    proptest! {
        #[test]
        fn no_line_panics_and_no_character_is_made_up(line in any::<String>()) {
            let kept: usize = kernel_line(&line).iter().map(String::len).sum();
            assert!(kept <= line.len());
            commands(&line);
        }
    }
}
