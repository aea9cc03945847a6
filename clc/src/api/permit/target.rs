//! What a request touches, as policies see it: whose it is, and what it is like.
//!
//! An administrator's users act on everyone's resources, so the account in an ARN is the owner's, not the
//! caller's: a policy about one's own instances is about no one else's. Tags are looked up only for those whose
//! policies ask for them.

use crate::api::cx::Cx;
use crate::app::instance::Instance;
use crate::app::tag::{Taggable, Tags};
use crate::app::volume;
use karri_proto::fault::Fault;
use karri_proto::ids::{InstanceId, KeyPairId};
use std::sync::Arc;

/// A resource that a request names or makes, and what is known of it from the request alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub kind: String,
    /// `*` for what is still to be made.
    pub id: String,
    pub keys: Vec<(String, String)>,
    /// Known to be the caller's.
    own: bool,
}

/// The same, looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub arn: String,
    pub keys: Vec<(String, String)>,
}

impl Target {
    pub fn new(kind: &str, id: &str) -> Self {
        Self { kind: kind.to_owned(), id: id.to_owned(), keys: Vec::new(), own: false }
    }

    /// One that was looked up among the caller's own.
    pub fn own(kind: &str, id: &str) -> Self {
        Self { own: true, ..Self::new(kind, id) }
    }

    #[must_use]
    pub fn key(mut self, name: &str, value: &str) -> Self {
        self.keys.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Looks up what policies may ask of it. One that the caller cannot have is told like one of the caller's
    /// own that is not there.
    pub async fn look_up(self, cx: &Cx) -> Result<Seen, Fault> {
        let kind = Taggable::of_name(&self.kind);
        let facts = match kind {
            Some(kind) if self.id != "*" => facts(cx, kind, &self.id, self.own).await?,
            _ => Facts::default(),
        };
        let owner = facts.owner.as_deref().unwrap_or(cx.account());
        let id = facts.name.as_deref().unwrap_or(&self.id);
        let mut seen = Seen { arn: cx.arn_of(owner, &self.kind, id), keys: self.keys };
        seen.keys.extend(facts.keys);
        for (key, value) in facts.tags {
            seen.keys.push((format!("aws:ResourceTag/{key}"), value.clone()));
            seen.keys.push((format!("ec2:ResourceTag/{key}"), value));
        }
        Ok(seen)
    }
}

#[derive(Default)]
struct Facts {
    /// None: the caller's, as far as the caller may know.
    owner: Option<String>,
    /// What its ARN is told with, where that is not its id.
    name: Option<String>,
    keys: Vec<(String, String)>,
    tags: Tags,
}

async fn facts(cx: &Cx, kind: Taggable, id: &str, own: bool) -> Result<Facts, Fault> {
    match kind {
        Taggable::Instance => {
            let Some(instance) = instance(cx, id).await? else { return Ok(Facts::default()) };
            Ok(Facts {
                owner: Some(instance.account.clone()),
                name: None,
                keys: vec![("ec2:InstanceType".to_owned(), instance.spec.instance_type.clone())],
                tags: instance.tags.clone(),
            })
        }
        Taggable::KeyPair => key_pair(cx, id).await,
        Taggable::Volume => {
            let instance = instance(cx, &volume::instance_text(id)).await?;
            let owner = instance.map(|instance| instance.account.clone());
            let tags = tags(cx, owner.as_deref().unwrap_or(cx.account()), id).await?;
            Ok(Facts { owner, tags, ..Facts::default() })
        }
        Taggable::Image
        | Taggable::Vpc
        | Taggable::Subnet
        | Taggable::SecurityGroup
        | Taggable::SecurityGroupRule
        | Taggable::NetworkInterface
        | Taggable::Snapshot
        | Taggable::ImportImageTask
        | Taggable::ImportSnapshotTask
        | Taggable::ExportImageTask
        | Taggable::DhcpOptions
        | Taggable::InternetGateway
        | Taggable::RouteTable
        | Taggable::NetworkAcl
        | Taggable::NatGateway
        | Taggable::ElasticIp
        | Taggable::PrefixList => {
            // These ARNs name no account, and whoever is no administrator reaches none but their own.
            let nobodys = matches!(kind, Taggable::Image | Taggable::Snapshot);
            let own = own || nobodys || !cx.is_administrator();
            if own && !cx.signer.minds_tags {
                return Ok(Facts::default());
            }
            let owner = cx.app.store.resource_owner(kind, id).await?;
            let owner = owner.filter(|owner| cx.may_touch(owner));
            // Another account's public image has the caller's own tags.
            let tags = tags(cx, owner.as_deref().unwrap_or(cx.account()), id).await?;
            Ok(Facts { owner, tags, ..Facts::default() })
        }
    }
}

/// The instance, if the caller may touch it.
async fn instance(cx: &Cx, id: &str) -> Result<Option<Arc<Instance>>, Fault> {
    let Ok(id) = id.parse::<InstanceId>() else { return Ok(None) };
    let known = match cx.app.instances.get(&id) {
        None if cx.is_administrator() => {
            // Another controller may just have launched it.
            cx.app.follow().await?;
            cx.app.instances.get(&id)
        }
        known => known,
    };
    Ok(known.filter(|instance| cx.may_touch(&instance.account)))
}

/// Policies know key pairs by name, and nobody reaches another account's by name.
async fn key_pair(cx: &Cx, id_or_name: &str) -> Result<Facts, Fault> {
    let store = &cx.app.store;
    if id_or_name.parse::<KeyPairId>().is_err() {
        if !cx.signer.minds_tags {
            return Ok(Facts::default());
        }
        let Some(pair) = store.key_pair_fetch(cx.account(), id_or_name).await? else {
            return Ok(Facts::default());
        };
        return Ok(Facts { tags: tags(cx, cx.account(), &pair.id).await?, ..Facts::default() });
    }
    let owner = store.resource_owner(Taggable::KeyPair, id_or_name).await?;
    let Some(owner) = owner.filter(|owner| cx.may_touch(owner)) else { return Ok(Facts::default()) };
    let pair = store.key_pair_fetch_by_id(&owner, id_or_name).await?;
    let tags = tags(cx, &owner, id_or_name).await?;
    Ok(Facts { name: pair.map(|pair| pair.name), owner: Some(owner), keys: Vec::new(), tags })
}

/// As that account has tagged it.
async fn tags(cx: &Cx, account: &str, id: &str) -> Result<Tags, Fault> {
    if !cx.signer.minds_tags {
        return Ok(Tags::new());
    }
    Ok(cx.app.store.tags_of_resource(account, id).await?)
}
