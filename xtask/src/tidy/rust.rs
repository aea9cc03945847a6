//! How Rust files look: their size, their functions' size, their first line, their lint exceptions.

use super::Problem;
use super::lexer::{line_of, views, words};
use super::tree::{Tree, is_generated, is_script};

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 100;

pub fn module_docs(tree: &Tree) -> Vec<Problem> {
    let all = tree.files().filter(|(path, _)| path.ends_with(".rs"));
    let undocumented = all.filter(|(_, text)| {
        let first = text.lines().find(|line| !is_plain_comment(line) && !line.trim().is_empty());
        !first.is_some_and(|line| line.starts_with("//!"))
    });
    undocumented
        .map(|(path, _)| {
            let what = "begins without //!: say what the module is for, what it may touch and must not";
            Problem::new(path, 1, what)
        })
        .collect()
}

fn is_plain_comment(line: &str) -> bool {
    line.starts_with("//") && !line.starts_with("//!") && !line.starts_with("///")
}

pub fn file_sizes(tree: &Tree) -> Vec<Problem> {
    let written = tree.files().filter(|(path, text)| {
        (path.ends_with(".rs") || is_script(path, text) || path.ends_with(".sql")) && !is_generated(path)
    });
    written
        .filter_map(|(path, text)| {
            let lines = text.lines().count();
            let what = format!("has {lines} lines, {FILE_LINES_MAX} are allowed: split it by its ideas");
            (lines > FILE_LINES_MAX).then(|| Problem::new(path, 0, what))
        })
        .collect()
}

pub fn function_sizes(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (path, text) in tree.rust() {
        let code = views(text).code;
        for function in functions(&code) {
            let lines = function.last - function.first + 1;
            if lines > FUNCTION_LINES_MAX {
                let name = function.name;
                let what = format!(
                    "fn {name} has {lines} lines, {FUNCTION_LINES_MAX} are allowed: give its steps names"
                );
                problems.push(Problem::new(path, function.first, what));
            }
        }
    }
    problems
}

struct Function {
    name: String,
    first: usize,
    last: usize,
}

fn functions(code: &str) -> Vec<Function> {
    let with_name = words(code, "fn").filter_map(|at| {
        let name = code[at + 2..].trim_start();
        let name: String = name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        (!name.is_empty()).then_some((at, name))
    });
    with_name
        .filter_map(|(at, name)| {
            let (first, last) = (line_of(code, at), line_of(code, body_end(code, at)?));
            Some(Function { name, first, last })
        })
        .collect()
}

/// The closing brace of the function whose `fn` is at `at`; nothing for one without a body.
fn body_end(code: &str, at: usize) -> Option<usize> {
    let (mut round, mut curly) = (0i32, 0i32);
    for (offset, byte) in code.as_bytes()[at..].iter().enumerate() {
        match byte {
            b'(' | b'[' => round += 1,
            b')' | b']' => round -= 1,
            b';' if round == 0 && curly == 0 => return None,
            b'{' => curly += 1,
            b'}' => {
                curly -= 1;
                if curly == 0 && round == 0 {
                    return Some(at + offset);
                }
            }
            _ => {}
        }
    }
    None
}

/// `#[allow(…)]` and `#[expect(…)]` say why, in a comment beside them or as `reason = "…"`.
pub fn exceptions_have_reasons(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (path, text) in tree.rust() {
        let code = views(text).code;
        for mark in ["#[allow(", "#![allow(", "#[expect(", "#![expect("] {
            for (at, _) in code.match_indices(mark) {
                let line = line_of(&code, at);
                let written = text.lines().nth(line - 1).unwrap_or_default();
                let above = line.checked_sub(2).and_then(|n| text.lines().nth(n)).unwrap_or_default();
                let above = above.trim_start();
                let beside = written.contains("//") || written.contains("reason =");
                let said = beside || is_plain_comment(above) || above.starts_with("//!");
                if !said {
                    let what = "a lint is allowed without saying why: add a comment beside it";
                    problems.push(Problem::new(path, line, what));
                }
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::super::tests::problems;
    use super::*;

    #[test]
    fn a_module_without_a_purpose_is_told() {
        let good = [("a.rs", "// Generated.\n//! Purpose.\n"), ("b.rs", "//! Purpose.\n"), ("c.py", "x")];
        assert!(problems(module_docs, &good).is_empty());
        assert_eq!(problems(module_docs, &[("a.rs", "use x;\n//! Late.\n"), ("b.rs", "")]).len(), 2);
    }

    #[test]
    fn a_long_file_is_told_unless_it_is_generated() {
        let long = "\n".repeat(601);
        assert!(problems(file_sizes, &[("a.rs", &"\n".repeat(600)), ("b/generated/c.rs", &long)]).is_empty());
        for path in ["a.rs", "a.py", "a.sh", "a.sql"] {
            assert!(problems(file_sizes, &[(path, &long)])[0].contains("601 lines"), "{path}");
        }
    }

    #[test]
    fn a_long_function_is_told_by_name_and_line() {
        let body = "    x();\n".repeat(98);
        let fits = format!("//! D.\nfn fits() {{\n{body}}}\n");
        assert!(problems(function_sizes, &[("a.rs", &fits)]).is_empty());
        let long =
            format!("//! }}\nfn ok() -> [u8; 2] {{ \"{{\"; }}\n\nasync fn long() {{\n{body}    y();\n}}\n");
        let told = problems(function_sizes, &[("a.rs", &long)]);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with("a.rs:4: fn long has 101 lines"), "{told:?}");
    }

    #[test]
    fn declarations_and_function_types_have_no_size() {
        let text = format!("trait T {{ fn a(x: [u8; 3]); }}\ntype F = fn(u8) -> u8;\n{}", "\n".repeat(120));
        assert!(problems(function_sizes, &[("a.rs", &text)]).is_empty());
    }

    #[test]
    fn an_exception_without_a_reason_is_told() {
        let good = "#![allow(a)] // because\n// because\n#[allow(b)]\n#[expect(c, reason = \"r\")]\n";
        assert!(problems(exceptions_have_reasons, &[("a.rs", good)]).is_empty());
        let bad = "/// Doc.\n#[allow(a)]\nfn f() {}\n";
        assert_eq!(problems(exceptions_have_reasons, &[("a.rs", bad)]).len(), 1);
    }
}
