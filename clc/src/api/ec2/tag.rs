//! Tags: on their own, and as every other action carries them.

use super::listing::{Shown, page, tell};
use crate::api::cx::{Answer, Cx};
use crate::api::permit::{Asks, Target, not_dry};
use crate::app::tag::{self, Change, Taggable, Tags};
use karri_proto::aws::ec2::{
    CreateTagsRequest, DeleteTagsRequest, DescribeTagsRequest, DescribeTagsResult, Tag, TagDescription,
    TagSpecification,
};
use karri_proto::aws::filter::Filterable;
use karri_proto::aws::{Action, Done};
use karri_proto::fault::{self, Fault, FaultCode};

/// Tags as an answer shows them.
pub fn shown(tags: &Tags) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag { key: Some(key.clone()), value: Some(value.clone()) }).collect()
}

/// The tags that a request gives to what it makes, which is of that kind and no other.
pub fn specified(specifications: &[TagSpecification], kind: Taggable) -> Result<Tags, Fault> {
    specified_for(specifications, kind, &[kind])
}

/// As `specified`, for a request that makes several kinds of resources.
pub fn specified_for(
    specifications: &[TagSpecification],
    kind: Taggable,
    possible: &[Taggable],
) -> Result<Tags, Fault> {
    let mut tags = Tags::new();
    for (at, specification) in specifications.iter().enumerate() {
        let named = specification.resource_type.as_deref();
        let named = named
            .ok_or_else(|| Fault::invalid_parameter("Tag specification resource type must have a value"))?;
        if !possible.iter().any(|one| one.as_str() == named) {
            let shown = fault::shown(named);
            let sentence = format!("'{shown}' is not a valid taggable resource type for this operation.");
            return Err(Fault::invalid_parameter(sentence));
        }
        if specification.tags.is_empty() {
            return Err(Fault::invalid_parameter("Tag specification must have at least one tag"));
        }
        if specifications[..at].iter().any(|earlier| earlier.resource_type.as_deref() == Some(named)) {
            let sentence = format!("The resource type '{named}' may be specified only once.");
            return Err(Fault::invalid_parameter(sentence));
        }
        let given = read(&specification.tags)?;
        tag::check(&given)?;
        if named == kind.as_str() {
            tags.extend(given);
        }
    }
    tag::check(&tags)?;
    Ok(tags)
}

fn read(tags: &[Tag]) -> Result<Tags, Fault> {
    let missing =
        || Fault::new(FaultCode::MissingParameter, "The request must contain the parameter Tag.Key");
    let read = |tag: &Tag| Ok((tag.key.clone().ok_or_else(missing)?, tag.value.clone().unwrap_or_default()));
    tags.iter().map(read).collect()
}

fn on(resources: &[String], tags: &[Tag], values: bool) -> Asks {
    let target = |id: &String| match Taggable::of_id(id) {
        Ok(kind) => Target::new(kind.as_str(), id),
        Err(_) => Target::new("*", id),
    };
    let value = |tag: &Tag| values.then(|| tag.value.clone().unwrap_or_default());
    let tags = tags.iter().filter_map(|tag| Some((tag.key.clone()?, value(tag))));
    Asks::Tagging(resources.iter().map(target).collect(), tags.collect())
}

pub fn create_asks(_: &Cx, request: &CreateTagsRequest) -> Asks {
    on(&request.resources, &request.tags, true)
}

pub fn delete_asks(_: &Cx, request: &DeleteTagsRequest) -> Asks {
    on(&request.resources, &request.tags, false)
}

pub async fn create_tags(cx: Cx, request: CreateTagsRequest) -> Answer<Done> {
    if request.tags.is_empty() {
        let sentence = "The request must contain the parameter Tag";
        return Err(Fault::new(FaultCode::MissingParameter, sentence));
    }
    let change = Change::Put(read(&request.tags)?);
    carry_out(&cx, &request, &request.resources, change).await
}

async fn carry_out<A: Action>(cx: &Cx, request: &A, resources: &[String], change: Change) -> Answer<Done> {
    let (account, administrator) = (cx.account(), cx.is_administrator());
    let dry = request.dry_run() == Some(true);
    cx.app.tags_change(account, administrator, &cx.request_id, resources, change, dry).await?;
    not_dry(request)?;
    Ok(Done)
}

pub async fn delete_tags(cx: Cx, request: DeleteTagsRequest) -> Answer<Done> {
    let missing =
        || Fault::new(FaultCode::MissingParameter, "The request must contain the parameter Tag.Key");
    let read = |tag: &Tag| Ok((tag.key.clone().ok_or_else(missing)?, tag.value.clone()));
    let keys = request.tags.iter().map(read).collect::<Result<Vec<_>, Fault>>()?;
    let change = if keys.is_empty() { Change::DeleteAll } else { Change::Delete(keys) };
    carry_out(&cx, &request, &request.resources, change).await
}

pub async fn describe_tags(cx: Cx, request: DescribeTagsRequest) -> Answer<DescribeTagsResult> {
    let rows = cx.app.store.tag_list(cx.account()).await?;
    let described = rows.into_iter().map(|row| TagDescription {
        key: Some(row.key),
        value: Some(row.value),
        resource_id: Some(row.resource_id),
        resource_type: Some(row.resource_type),
    });
    let key = |tag: &TagDescription| {
        let part = |text: &Option<String>| text.clone().unwrap_or_default();
        format!("{}\0{}", part(&tag.resource_id), part(&tag.key))
    };
    let (tags, next_token) = page(&request, described.collect(), key)?;
    Ok(DescribeTagsResult { tags, next_token })
}

impl Filterable for Shown<TagDescription> {
    const FILTERS: &'static [&'static str] = &["key", "resource-id", "resource-type", "value"];

    fn filter_values(&self, name: &str, each: &mut dyn FnMut(&str)) {
        let tag = &self.0;
        match name {
            "key" => tell(each, &tag.key),
            "resource-id" => tell(each, &tag.resource_id),
            "resource-type" => tell(each, &tag.resource_type),
            "value" => tell(each, &tag.value),
            _ => {}
        }
    }

    fn filter_tags(&self, each: &mut dyn FnMut(&str, &str)) {
        each(self.0.key.as_deref().unwrap_or_default(), self.0.value.as_deref().unwrap_or_default());
    }
}
