//! Key pairs.

use super::listing::{Shown, filtered, named, tell, tell_tags, time_of};
use super::tag::{shown, specified};
use crate::api::cx::{Answer, Cx};
use crate::api::permit::{Asks, Target, not_dry, permit};
use crate::app::key_pair::{self, KeyKind, KeyPair as Pair};
use crate::app::tag::{Taggable, Tags};
use karri_proto::aws::ec2::{
    CreateKeyPairRequest, DeleteKeyPairRequest, DeleteKeyPairResult, DescribeKeyPairsRequest,
    DescribeKeyPairsResult, ImportKeyPairRequest, ImportKeyPairResult, KeyPair, KeyPairInfo,
};
use karri_proto::aws::filter::Filterable;
use karri_proto::fault::{self, Fault, FaultCode, shown_list};
use karri_proto::ids::KeyPairId;

pub fn create_asks(_: &Cx, request: &CreateKeyPairRequest) -> Asks {
    Asks::On(vec![Target::new("key-pair", &request.key_name)])
}

pub fn import_asks(_: &Cx, request: &ImportKeyPairRequest) -> Asks {
    Asks::On(vec![Target::new("key-pair", &request.key_name)])
}

/// Policies know key pairs by name: one that is named by its id has to be looked up first.
pub fn delete_asks(_: &Cx, request: &DeleteKeyPairRequest) -> Asks {
    match &request.key_name {
        Some(name) => Asks::On(vec![Target::new("key-pair", name)]),
        None => Asks::Nothing,
    }
}

pub async fn create_key_pair(cx: Cx, request: CreateKeyPairRequest) -> Answer<KeyPair> {
    key_pair::check_name(&request.key_name)?;
    let tags = specified(&request.tag_specifications, Taggable::KeyPair)?;
    if request.key_format.as_deref() == Some("ppk") {
        let sentence = "Private keys are to be had in PEM format only; puttygen converts them to ppk";
        return Err(Fault::new(FaultCode::Unsupported, sentence));
    }
    let kind = request.key_type.as_deref().and_then(KeyKind::parse).unwrap_or(KeyKind::Rsa);
    if cx.app.store.key_pair_fetch(cx.account(), &request.key_name).await?.is_some() {
        return Err(key_pair::duplicate(&request.key_name));
    }
    not_dry(&request)?;
    let made = key_pair::make(cx.account(), kind).await?;
    let pair = keep(&cx, &request.key_name, kind, made.fingerprint, &made.openssh, &tags).await?;
    Ok(KeyPair {
        key_fingerprint: Some(pair.fingerprint),
        key_material: Some(made.private_pem),
        key_name: Some(pair.name),
        key_pair_id: Some(pair.id),
        tags: shown(&tags),
    })
}

pub async fn import_key_pair(cx: Cx, request: ImportKeyPairRequest) -> Answer<ImportKeyPairResult> {
    key_pair::check_name(&request.key_name)?;
    let tags = specified(&request.tag_specifications, Taggable::KeyPair)?;
    let key = key_pair::import(&request.public_key_material)?;
    if request.dry_run == Some(true)
        && cx.app.store.key_pair_fetch(cx.account(), &request.key_name).await?.is_some()
    {
        return Err(key_pair::duplicate(&request.key_name));
    }
    not_dry(&request)?;
    let pair = keep(&cx, &request.key_name, key.kind, key.fingerprint, &key.openssh, &tags).await?;
    Ok(ImportKeyPairResult {
        key_fingerprint: Some(pair.fingerprint),
        key_name: Some(pair.name),
        key_pair_id: Some(pair.id),
        tags: shown(&tags),
    })
}

async fn keep(
    cx: &Cx,
    name: &str,
    kind: KeyKind,
    fingerprint: String,
    openssh: &str,
    tags: &Tags,
) -> Result<Pair, Fault> {
    let pair = Pair {
        id: KeyPairId::random(&mut rand::thread_rng()).into(),
        account: cx.account().to_owned(),
        name: name.to_owned(),
        kind: kind.as_str().to_owned(),
        fingerprint,
        openssh: key_pair::with_comment(openssh, name),
        created_ms: crate::app::now_ms(),
    };
    match cx.app.store.key_pair_insert(&pair, tags).await {
        Ok(()) => Ok(pair),
        Err(error) if error.is_unique_violation() => Err(key_pair::duplicate(name)),
        Err(error) => Err(error.into()),
    }
}

pub async fn describe_key_pairs(cx: Cx, request: DescribeKeyPairsRequest) -> Answer<DescribeKeyPairsResult> {
    let pairs = cx.app.store.key_pair_list(cx.account()).await?;
    let mut tags = cx.app.store.tags_of_account(cx.account(), Taggable::KeyPair).await?;
    let missing_name = |names: &[&str]| {
        let sentence = match names {
            [name] => format!("The key pair '{}' does not exist", fault::shown(name)),
            names => format!("The key pairs '{}' do not exist", shown_list(names)),
        };
        Fault::new(FaultCode::InvalidKeyPairNotFound, sentence)
    };
    let pairs = named(&request.key_names, pairs, |pair| &pair.name, missing_name)?;
    for id in &request.key_pair_ids {
        id.parse::<KeyPairId>()?;
    }
    let missing_id = |ids: &[&str]| Taggable::KeyPair.not_found(&ids.join(", "));
    let pairs = named(&request.key_pair_ids, pairs, |pair| &pair.id, missing_id)?;
    let with_key = request.include_public_key == Some(true);
    let shown = pairs.into_iter().map(|pair| {
        let tags = tags.remove(&pair.id).unwrap_or_default();
        info(pair, &tags, with_key)
    });
    Ok(DescribeKeyPairsResult { key_pairs: filtered(&request, shown.collect())? })
}

fn info(pair: Pair, tags: &Tags, with_key: bool) -> KeyPairInfo {
    KeyPairInfo {
        create_time: Some(time_of(pair.created_ms)),
        key_fingerprint: Some(pair.fingerprint),
        key_name: Some(pair.name),
        key_pair_id: Some(pair.id),
        key_type: Some(pair.kind),
        public_key: with_key.then_some(pair.openssh),
        tags: shown(tags),
    }
}

/// Deleting what is not there is done already, as often as one likes.
pub async fn delete_key_pair(cx: Cx, request: DeleteKeyPairRequest) -> Answer<DeleteKeyPairResult> {
    let store = &cx.app.store;
    let pair = match (&request.key_name, &request.key_pair_id) {
        (None, None) => {
            let sentence = "The request must contain the parameter KeyName or KeyPairId";
            return Err(Fault::new(FaultCode::MissingParameter, sentence));
        }
        (Some(_), Some(_)) => {
            let sentence = "The parameters KeyName and KeyPairId cannot be used together";
            return Err(Fault::new(FaultCode::InvalidParameterCombination, sentence));
        }
        (Some(name), None) => store.key_pair_fetch(cx.account(), name).await?,
        (None, Some(id)) => {
            id.parse::<KeyPairId>()?;
            store.key_pair_fetch_by_id(cx.account(), id).await?
        }
    };
    let name = pair.as_ref().map(|pair| pair.name.as_str()).or(request.key_name.as_deref());
    permit(&cx, &request, Asks::On(vec![Target::new("key-pair", name.unwrap_or("*"))])).await?;
    if let Some(pair) = &pair {
        store.key_pair_delete(&pair.id).await?;
    }
    Ok(DeleteKeyPairResult { key_pair_id: pair.map(|pair| pair.id), r#return: Some(true) })
}

impl Filterable for Shown<KeyPairInfo> {
    const FILTERS: &'static [&'static str] = &["fingerprint", "key-name", "key-pair-id"];

    fn filter_values(&self, name: &str, each: &mut dyn FnMut(&str)) {
        let pair = &self.0;
        match name {
            "fingerprint" => tell(each, &pair.key_fingerprint),
            "key-name" => tell(each, &pair.key_name),
            "key-pair-id" => tell(each, &pair.key_pair_id),
            _ => {}
        }
    }

    fn filter_tags(&self, each: &mut dyn FnMut(&str, &str)) {
        tell_tags(each, &self.0.tags);
    }
}
