//! A controller's commented example file with some keys given other values: comments and order stay, so
//! that what `up` writes explains itself.

use toml::Value;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the example file has no key {0}")]
pub struct NoSuchKey(pub String);

/// Sets each `section.key`, whether the example shows it plainly or commented out (`#key = …`). The
/// section itself may be shown commented out as well.
pub fn fill(example: &str, values: &[(&str, Value)]) -> Result<String, NoSuchKey> {
    let mut lines: Vec<String> = example.lines().map(str::to_owned).collect();
    for (path, value) in values {
        let missing = || NoSuchKey((*path).to_owned());
        let (section, key) = path.rsplit_once('.').ok_or_else(missing)?;
        let (head, line) = find(&lines, section, key).ok_or_else(missing)?;
        if let Some(head) = head {
            lines[head] = format!("[{section}]");
        }
        lines[line] = format!("{key} = {value}");
    }
    Ok(lines.join("\n") + "\n")
}

/// The line of the section's header and of the key; a plain line wins over a commented one.
fn find(lines: &[String], section: &str, key: &str) -> Option<(Option<usize>, usize)> {
    let mut here = (section.is_empty(), None);
    let mut commented = None;
    for (number, line) in lines.iter().enumerate() {
        if let Some(name) = header(line) {
            here = (name == section, Some(number));
        }
        if here.0 && assigns(line, key) {
            if !line.trim_start().starts_with('#') {
                return Some((here.1, number));
            }
            commented.get_or_insert((here.1, number));
        }
    }
    commented
}

fn uncommented(line: &str) -> &str {
    line.trim_start().trim_start_matches('#').trim()
}

fn header(line: &str) -> Option<&str> {
    let name = uncommented(line).strip_prefix('[')?.strip_suffix(']')?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    name.bytes().all(plain).then_some(name)
}

fn assigns(line: &str, key: &str) -> bool {
    uncommented(line).strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str =
        "# top\n[a]\n# why x\nx = 1\n#y = 2\n# y is for z = 3\n[a.b]\nx = \"old\"\n# [c]\n# x = 0\n";

    #[test]
    fn values_change_and_comments_stay() {
        let filled = fill(
            EXAMPLE,
            &[
                ("a.x", Value::Integer(5)),
                ("a.y", Value::Boolean(true)),
                ("a.b.x", Value::String("q\"uote".into())),
                ("c.x", Value::Integer(9)),
            ],
        )
        .unwrap();
        let table: toml::Table = filled.parse().unwrap();
        assert_eq!(table["a"]["x"].as_integer(), Some(5));
        assert_eq!(table["a"]["y"].as_bool(), Some(true));
        assert_eq!(table["a"]["b"]["x"].as_str(), Some("q\"uote"));
        assert_eq!(table["c"]["x"].as_integer(), Some(9));
        assert!(filled.starts_with("# top\n[a]\n# why x\nx = 5\n"));
    }

    #[test]
    fn a_key_that_the_example_does_not_know_is_an_error() {
        for path in ["a.z", "b.x", "c.y", "x"] {
            assert_eq!(fill(EXAMPLE, &[(path, Value::Integer(0))]), Err(NoSuchKey(path.into())));
        }
    }
}
