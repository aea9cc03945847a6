//! What must not stay in a file: notes to oneself, switched-off tests, one machine's paths, strange hosts.

use super::Problem;
use super::lexer::{line_of, views, words};
use super::tree::{Tree, is_generated, is_script};

/// Spelled in two parts, so that this file passes its own rule.
const NOTES: [&str; 3] = [concat!("FIX", "ME"), concat!("X", "XX"), concat!("TO", "DO")];

pub fn left_behind(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (path, text) in tree.files() {
        if path.ends_with(".rs") {
            let views = views(text);
            in_rust(path, &views.code, &mut problems);
            notes(path, &views.comments, &mut problems);
        } else if is_script(path, text)
            || path.ends_with(".sql")
            || path.ends_with(".toml")
            || path == "Makefile"
        {
            notes(path, text, &mut problems);
        }
        if path.ends_with(".py") {
            in_python(path, text, &mut problems);
        }
    }
    problems
}

fn notes(path: &str, text: &str, problems: &mut Vec<Problem>) {
    for note in NOTES {
        for at in words(text, note) {
            let what = format!("{note}: do it now, or write an issue and drop the note");
            problems.push(Problem::new(path, line_of(text, at), what));
        }
    }
}

fn in_rust(path: &str, code: &str, problems: &mut Vec<Problem>) {
    for (mark, what) in [
        ("todo!", "an unwritten path: write it"),
        ("unimplemented!", "an unwritten path: write it"),
        ("dbg!", "a trace of debugging: remove it"),
        ("#[ignore", "a test that does not run proves nothing: make it run or delete it"),
    ] {
        let found = code.match_indices(mark).map(|(at, _)| at);
        let alone = found.filter(|at| !code[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_'));
        problems.extend(alone.map(|at| Problem::new(path, line_of(code, at), format!("{mark}: {what}"))));
    }
}

fn in_python(path: &str, text: &str, problems: &mut Vec<Problem>) {
    for mark in ["unittest.skip", ".skipTest(", "expectedFailure", "pytest.mark.skip"] {
        for (at, _) in text.match_indices(mark) {
            let what = format!("{mark}: a test that does not run proves nothing: make it run or delete it");
            problems.push(Problem::new(path, line_of(text, at), what));
        }
    }
}

/// Where a working copy or a home happened to be. Guests' homes are facts of the images.
pub fn machine_paths(tree: &Tree) -> Vec<Problem> {
    const GUEST_HOMES: [&str; 2] = ["debian", "karri"];
    let mut problems = Vec::new();
    for (path, text) in tree.files().filter(|(path, _)| !is_generated(path)) {
        for prefix in [concat!("/wo", "rk/"), concat!("/ho", "me/")] {
            for (at, _) in text.match_indices(prefix) {
                let starts = !text[..at].ends_with(|c: char| c.is_alphanumeric() || "_.-/}~)".contains(c));
                let rest = &text[at + prefix.len()..];
                let name: String = rest.chars().take_while(char::is_ascii_alphanumeric).collect();
                if starts && !GUEST_HOMES.contains(&name.as_str()) {
                    let what =
                        format!("{prefix}{name} is a path of one machine: make it relative or a setting");
                    problems.push(Problem::new(path, line_of(text, at), what));
                }
            }
        }
    }
    problems
}

/// Hosts that the project has a reason to name. A part that begins with a dot stands for all below it.
const HOSTS: &[&str] = &[
    "localhost",
    ".example",
    "example.com",
    ".example.com",
    "example.org",
    ".example.org",
    "example.net",
    ".example.net",
    ".test",
    ".invalid",
    ".internal",
    "amazonaws.com",
    ".amazonaws.com",
    ".amazonaws.com.cn",
    "docs.aws.amazon.com",
    "docs.amazonwebservices.com",
    "aws.amazon.com",
    "github.com",
    "www.w3.org",
    "www.apache.org",
    "datatracker.ietf.org",
    "www.rfc-editor.org",
    "deb.debian.org",
    "cloud.debian.org",
    "sh.rustup.rs",
    "libvirt.org",
    "en.wikipedia.org",
];

pub fn hosts(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (path, text) in tree.files().filter(|(path, _)| !is_generated(path)) {
        for scheme in ["http://", "https://"] {
            for (at, _) in text.match_indices(scheme) {
                let host = host(&text[at + scheme.len()..]);
                if !is_known_host(&host) {
                    let what = format!(
                        "{host} is a host that the project does not know: remove it, or list it in tidy/words.rs"
                    );
                    problems.push(Problem::new(path, line_of(text, at), what));
                }
            }
        }
    }
    problems
}

fn host(rest: &str) -> String {
    let authority: String =
        rest.chars().take_while(|c| c.is_ascii_alphanumeric() || ".-_@[]".contains(*c)).collect();
    let host = authority.rsplit('@').next().unwrap_or_default();
    host.trim_end_matches('.').to_ascii_lowercase()
}

/// Numbers, names without a dot (one's own network, placeholders) and those of the list.
fn is_known_host(host: &str) -> bool {
    let numeric = host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let listed = HOSTS.iter().any(|known| match known.strip_prefix('.') {
        Some(_) => host.ends_with(known),
        None => host == *known,
    });
    numeric || listed || host.starts_with('[') || !host.contains('.')
}

#[cfg(test)]
mod tests {
    use super::super::tests::problems;
    use super::*;

    #[test]
    fn notes_and_unwritten_paths_are_told() {
        let note = format!("// {}: later\nlet s = \"{}\";", NOTES[0], NOTES[1]);
        assert_eq!(problems(left_behind, &[("a.rs", &note)]).len(), 1);
        assert_eq!(problems(left_behind, &[("a.sh", &format!("mktemp a.{0}{0}\n# {0}", NOTES[1]))]).len(), 1);
        for code in ["todo!()", "unimplemented!(\"x\")", "dbg!(x)", "#[ignore = \"slow\"]"] {
            assert_eq!(problems(left_behind, &[("a.rs", code)]).len(), 1, "{code}");
            assert!(problems(left_behind, &[("a.rs", &format!("// {code}"))]).is_empty(), "{code}");
        }
        assert_eq!(problems(left_behind, &[("a_test.py", "@unittest.skip('slow')\n")]).len(), 1);
        assert_eq!(problems(left_behind, &[("a_test.py", "    self.skipTest('x')\n")]).len(), 1);
    }

    #[test]
    fn paths_of_one_machine_are_told() {
        for prefix in [concat!("/wo", "rk/main"), concat!("/ho", "me/ann/x")] {
            assert_eq!(problems(machine_paths, &[("a.md", &format!("see {prefix}."))]).len(), 1);
            assert!(problems(machine_paths, &[("a.md", &format!("see target{prefix}."))]).is_empty());
        }
        assert!(problems(machine_paths, &[("a.py", concat!("\"/ho", "me/debian/.ssh\""))]).is_empty());
    }

    #[test]
    fn strange_hosts_are_told() {
        let good = "http://127.0.0.1:80/x https://ec2.amazonaws.com/ http://{address}/ https://[::1]/ \
                    http://walrus.example:1 https://github.com/rust-lang/crates.io-index http://user@localhost/";
        assert_eq!(problems(hosts, &[("a.rs", good)]), Vec::<String>::new());
        let strange = format!("http{}cache.corp.site:8081/simple", "s://");
        let told = problems(hosts, &[("a.toml", &strange)]);
        assert!(told[0].contains("cache.corp.site is a host"), "{told:?}");
    }
}
