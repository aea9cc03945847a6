//! The controllers that the supervisor of this machine runs, asked one by one: also when the cloud
//! controller is away, and those that it does not know of.

use crate::cloud::Cloud;
use crate::facts::Facts;
use crate::http;
use crate::up::trust::{cc_name, nc_name};
use karri_proto::internal::admin::ControllerStatus;
use karri_proto::runtime::endpoint::Endpoint;
use karri_proto::runtime::tls::own_identity;
use std::collections::BTreeMap;
use std::time::Duration;

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
