//! Links in Markdown that lead to files of the repository lead somewhere.

use super::Problem;
use super::tree::Tree;

pub fn markdown(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (path, text) in tree.files().filter(|(path, _)| path.ends_with(".md")) {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let mut fenced = false;
        for (number, line) in text.lines().enumerate() {
            fenced ^= line.trim_start().starts_with("```");
            if fenced || line.starts_with("    ") {
                continue;
            }
            for target in targets(line).filter(|target| !leads_somewhere(tree, folder, target)) {
                let what = format!("the link to {target} leads nowhere: correct or remove it");
                problems.push(Problem::new(path, number + 1, what));
            }
        }
    }
    problems
}

fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next())
}

fn leads_somewhere(tree: &Tree, folder: &str, target: &str) -> bool {
    let file = target.split('#').next().unwrap_or_default();
    if file.is_empty() || target.contains("://") || target.starts_with("mailto:") {
        return true;
    }
    let mut parts: Vec<&str> = if file.starts_with('/') { Vec::new() } else { folder.split('/').collect() };
    for part in file.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.pop().is_none() => return false,
            ".." => {}
            name => parts.push(name),
        }
    }
    parts.retain(|part| !part.is_empty());
    tree.has(&parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::problems;
    use super::*;

    #[test]
    fn links_to_files_are_followed() {
        let text = "[a](b.md#part) [c](../README.md) [d](/docs/adr) [e](https://x.example/y) [f](#here)\n\
                    ```\n[g](nowhere)\n```\n    [h](nowhere)\n";
        let good = [("docs/a.md", text), ("docs/b.md", ""), ("README.md", ""), ("docs/adr/1.md", "")];
        assert_eq!(problems(markdown, &good), Vec::<String>::new());
        let told = problems(markdown, &[("docs/a.md", "x\n[a](b.md) [c](../../x)")]);
        assert_eq!(told.len(), 2);
        assert!(told[0].starts_with("docs/a.md:2: the link to"), "{told:?}");
    }
}
