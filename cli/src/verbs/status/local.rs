//! The controllers that the supervisor of this machine runs, asked one by one: also when the cloud
//! controller is away, and those that it does not know of.

use crate::cloud::Cloud;
use crate::facts::Facts;
use crate::home::Home;
use crate::http;
use crate::up::trust::{cc_name, nc_name};
use karri_proto::internal::admin::ControllerStatus;
use karri_proto::runtime::endpoint::Endpoint;
use karri_proto::runtime::tls::{own_identity, own_validity};
use std::collections::BTreeMap;
use std::time::Duration;
use time::OffsetDateTime;

const ASK_TIMEOUT: Duration = Duration::from_secs(2);

pub async fn controllers(cloud: &Cloud) -> anyhow::Result<Vec<ControllerStatus>> {
    let facts = cloud.home().facts()?;
    let client = http::local()?.timeout(ASK_TIMEOUT).build()?;
    let asked = roles(&facts).into_iter().map(|(role, name)| one(cloud, &client, role, name));
    Ok(futures_util::future::join_all(asked).await)
}

/// What clients of the cloud speak to, by service.
pub fn endpoints(cloud: &Cloud) -> BTreeMap<&'static str, String> {
    let public = |name| Endpoint::read(&cloud.home().controller(name))?.public_url;
    [("ec2", public("clc")), ("s3", public("walrus"))]
        .into_iter()
        .filter_map(|(service, url)| Some((service, url?)))
        .collect()
}

fn roles(facts: &Facts) -> Vec<(&'static str, String)> {
    let mut all = vec![("clc", "clc".to_owned()), ("walrus", "walrus".to_owned())];
    for zone in &facts.zones {
        all.extend([("cc", cc_name(zone)), ("nc", nc_name(zone))]);
    }
    all
}

async fn one(cloud: &Cloud, client: &reqwest::Client, role: &str, name: String) -> ControllerStatus {
    let identity = own_identity(&cloud.home().tls(&name)).ok();
    let endpoint = Endpoint::read(&cloud.home().controller(&name));
    let detail = match &endpoint {
        None => "not running".to_owned(),
        Some(Endpoint { observe_url: None, .. }) => String::new(),
        Some(Endpoint { observe_url: Some(url), .. }) => health(client, url).await,
    };
    ControllerStatus {
        role: role.to_owned(),
        name: identity.map_or(name, |identity| identity.name),
        url: endpoint.as_ref().map(|endpoint| endpoint.url.clone()).unwrap_or_default(),
        healthy: detail.is_empty(),
        version: endpoint.map(|endpoint| endpoint.version).unwrap_or_default(),
        detail,
    }
}

/// Certificates of this machine that are in the last third of their life, with their last day.
pub fn ending_certificates(home: &Home, now: OffsetDateTime) -> anyhow::Result<Vec<String>> {
    let names = roles(&home.facts()?).into_iter().map(|(_, name)| name).chain(["admin".to_owned()]);
    let ending = names.filter_map(|name| {
        let validity = own_validity(&home.tls(&name)).ok().filter(|validity| validity.ends_soon(now))?;
        Some(format!("the certificate of {name} is good until {}", validity.until.date()))
    });
    Ok(ending.collect())
}

/// What is wrong; nothing if all is well.
async fn health(client: &reqwest::Client, url: &str) -> String {
    match client.get(format!("{url}/healthz")).send().await {
        Ok(answer) if answer.status().is_success() => String::new(),
        Ok(answer) => match answer.text().await {
            Ok(wrong) if !wrong.trim().is_empty() => wrong.trim().replace('\n', "; "),
            _ => "/healthz answers without a reason".to_owned(),
        },
        Err(_) => "does not answer".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Up;
    use crate::up::trust;

    #[test]
    fn certificates_that_end_soon_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::at(directory.path().to_owned());
        let wanted =
            Up { sim: Some(1), port_base: None, address: None, region: None, zones: vec![], images: None };
        let facts = Facts::new(&wanted).unwrap();
        facts.write(&home.facts_file()).unwrap();
        let count = trust::establish(&home, &facts).unwrap();
        let now = OffsetDateTime::now_utc();
        assert!(ending_certificates(&home, now).unwrap().is_empty());
        let late = ending_certificates(&home, now + time::Duration::days(4 * 365)).unwrap();
        assert_eq!(late.len(), count, "{late:?}");
    }
}
