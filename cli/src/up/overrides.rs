//! Configuration that the environment overrode: kept, so that `down --terminate` removes what was really
//! made, whatever the shell that it is called from has set.

use crate::home::Home;
use karri_proto::runtime::pki::write_secret;
use karri_proto::runtime::process::Controller;
use std::collections::BTreeMap;

type Overrides = BTreeMap<String, String>;

const PREFIXES: [&str; 4] = [
    karri_clc::Clc::ENVIRONMENT,
    karri_cc::Cc::ENVIRONMENT,
    karri_nc::Nc::ENVIRONMENT,
    karri_walrus::Walrus::ENVIRONMENT,
];

/// Those of this process.
pub fn current() -> Overrides {
    // A variable that is no text cannot be a key's value.
    let all = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    all.filter(|(name, _)| is_override(name)).collect()
}

fn is_override(name: &str) -> bool {
    PREFIXES.iter().any(|prefix| name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('_')))
}

/// Writes down what this process hands to the controllers. Returns the names that were different before.
pub fn keep(home: &Home) -> anyhow::Result<Vec<String>> {
    let (before, now) = (kept(home)?, current());
    let path = home.overrides_file();
    if now != before {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        // A database URL may hold a password.
        write_secret(&path, &serde_json::to_vec_pretty(&now)?)?;
    }
    Ok(before
        .into_iter()
        .filter(|(name, value)| now.get(name) != Some(value))
        .map(|(name, _)| name)
        .collect())
}

/// What the last `up` handed to the controllers.
pub fn kept(home: &Home) -> anyhow::Result<Overrides> {
    let path = home.overrides_file();
    match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| anyhow::anyhow!("{}: {e}", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Overrides::new()),
        Err(error) => Err(anyhow::anyhow!("{}: {error}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_controllers_own_variables_are_kept() {
        for name in ["KARRI_CC_NETWORK__BRIDGE", "KARRI_NC_NETWORK__BRIDGE", "KARRI_CLC_DATABASE__URL"] {
            assert!(is_override(name), "{name}");
        }
        for name in ["KARRI_STATE_DIR", "KARRI_CC", "KARRI_CCX_Y", "PATH", "AWS_SECRET_ACCESS_KEY"] {
            assert!(!is_override(name), "{name}");
        }
    }

    #[test]
    fn what_changed_since_the_last_up_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::at(directory.path().to_owned());
        assert!(kept(&home).unwrap().is_empty());
        std::fs::create_dir(directory.path().join("run")).unwrap();
        std::fs::write(home.overrides_file(), r#"{"KARRI_CC_NETWORK__BRIDGE":"elsewhere0"}"#).unwrap();
        assert_eq!(kept(&home).unwrap()["KARRI_CC_NETWORK__BRIDGE"], "elsewhere0");
        assert_eq!(keep(&home).unwrap(), ["KARRI_CC_NETWORK__BRIDGE"]);
        assert!(keep(&home).unwrap().is_empty());
    }
}
