//! Manifests: every version once, in the workspace; the shared lints in every member. Example
//! configurations are TOML (that they are right is checked by each controller's own tests).

use super::Problem;
use super::tree::Tree;
use toml::{Table, Value};

pub fn members(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (path, text) in tree.files().filter(|(path, _)| path.ends_with("/Cargo.toml")) {
        match text.parse::<Table>() {
            Ok(manifest) => member(path, &manifest, &mut problems),
            Err(error) => problems.push(Problem::new(path, 0, format!("is not TOML: {error}"))),
        }
    }
    problems
}

fn member(path: &str, manifest: &Table, problems: &mut Vec<Problem>) {
    let shared =
        |value: Option<&Value>| value.and_then(|v| v.get("workspace")) == Some(&Value::Boolean(true));
    if !shared(manifest.get("lints")) {
        problems.push(Problem::new(path, 0, "does not use the shared lints: add [lints] workspace = true"));
    }
    let package = manifest.get("package");
    if !shared(package.and_then(|p| p.get("license"))) {
        problems.push(Problem::new(path, 0, "does not use the shared licence: license.workspace = true"));
    }
    for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
        let Some(Value::Table(dependencies)) = manifest.get(section) else { continue };
        for (name, _) in dependencies.iter().filter(|(_, value)| !shared(Some(value))) {
            let what = format!("{name} has a version of its own: move it to the workspace's Cargo.toml");
            problems.push(Problem::new(path, 0, what));
        }
    }
}

pub fn examples(tree: &Tree) -> Vec<Problem> {
    let examples =
        tree.files().filter(|(path, _)| path.starts_with("deploy/config/") && path.ends_with(".toml"));
    let broken = examples.filter_map(|(path, text)| Some((path, text.parse::<Table>().err()?)));
    broken.map(|(path, error)| Problem::new(path, 0, format!("is not TOML: {error}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::problems;
    use super::*;

    #[test]
    fn a_member_with_its_own_ways_is_told() {
        let good = "[package]\nlicense.workspace = true\n[lints]\nworkspace = true\n\
                    [dependencies]\na.workspace = true\nb = { workspace = true, optional = true }\n";
        assert_eq!(problems(members, &[("x/Cargo.toml", good)]), Vec::<String>::new());
        let bad = "[package]\nlicense = \"MIT\"\n[dependencies]\na = \"1\"\n[dev-dependencies]\nb = { version = \"2\" }\n";
        assert_eq!(problems(members, &[("x/Cargo.toml", bad)]).len(), 4);
        assert_eq!(problems(members, &[("x/Cargo.toml", "[")]).len(), 1);
    }

    #[test]
    fn an_example_that_is_no_toml_is_told() {
        assert!(problems(examples, &[("deploy/config/a.toml", "a = 1")]).is_empty());
        assert_eq!(problems(examples, &[("deploy/config/a.toml", "a =")]).len(), 1);
    }
}
