//! Migrations only go forward: one that has been published is never edited, because databases remember
//! what they ran. `migrations/SHA256SUMS` (`sha256sum -c` reads it) holds what was published;
//! `cargo xtask tidy --seal` adds new files and changes none.

use super::Problem;
use super::tree::Tree;
use anyhow::{Result, bail};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::Path;

const SUMS: &str = "migrations/SHA256SUMS";
const FOLDER: &str = "migrations/";

fn sum(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

fn sealed(tree: &Tree) -> BTreeMap<&str, &str> {
    let lines = tree.get(SUMS).unwrap_or_default().lines();
    lines.filter_map(|line| line.split_once("  ")).map(|(sum, path)| (path, sum)).collect()
}

fn migrations(tree: &Tree) -> BTreeMap<&str, String> {
    let files = tree.files().filter(|(path, _)| path.starts_with(FOLDER) && path.ends_with(".sql"));
    files.map(|(path, text)| (&path[FOLDER.len()..], sum(text))).collect()
}

pub fn unchanged(tree: &Tree) -> Vec<Problem> {
    let (sealed, present) = (sealed(tree), migrations(tree));
    let at = |name: &str, what: &str| Problem::new(&format!("{FOLDER}{name}"), 0, what);
    let edited = sealed.iter().filter_map(|(name, sum)| match present.get(name) {
        Some(now) if now == sum => None,
        Some(_) => Some(at(name, "a published migration was edited: undo that, and write a new one")),
        None => Some(at(name, "a published migration is gone: bring it back")),
    });
    let new = present.keys().filter(|name| !sealed.contains_key(*name));
    let new = new.map(|name| at(name, "is not sealed yet: cargo xtask tidy --seal"));
    edited.chain(new).collect()
}

pub fn seal(root: &Path) -> Result<()> {
    let tree = Tree::read(root)?;
    let (sealed, present) = (sealed(&tree), migrations(&tree));
    let mut all: BTreeMap<&str, &str> = present.iter().map(|(name, sum)| (*name, sum.as_str())).collect();
    for (name, sum) in sealed {
        if all.insert(name, sum) != Some(sum) {
            bail!("{FOLDER}{name} was published and is edited or gone: undo that, and write a new one");
        }
    }
    let text: String = all.iter().map(|(name, sum)| format!("{sum}  {name}\n")).collect();
    std::fs::write(root.join(SUMS), text)?;
    println!("{} migrations are sealed in {SUMS}", all.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::problems;
    use super::*;

    #[test]
    fn an_edited_a_lost_and_an_unsealed_migration_are_told() {
        let sums = format!("{}  clc/1.sql\n{}  clc/2.sql\n", sum("create"), sum("alter"));
        let good =
            [(SUMS, sums.as_str()), ("migrations/clc/1.sql", "create"), ("migrations/clc/2.sql", "alter")];
        assert_eq!(problems(unchanged, &good), Vec::<String>::new());
        let bad = [(SUMS, sums.as_str()), ("migrations/clc/1.sql", "CREATE"), ("migrations/clc/3.sql", "")];
        let told = problems(unchanged, &bad).join("\n");
        for expected in [
            "clc/1.sql: a published migration was edited",
            "clc/2.sql: a published migration is gone",
            "clc/3.sql: is not sealed",
        ] {
            assert!(told.contains(expected), "{told}");
        }
    }
}
