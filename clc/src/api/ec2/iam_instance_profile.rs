//! Instance profiles: there are none, so no instance has one; clients ask all the same.

use super::listing::{Shown, absent, named, page, tell};
use crate::api::cx::{Answer, Cx};
use karri_proto::aws::ec2::{
    DescribeIamInstanceProfileAssociationsRequest, DescribeIamInstanceProfileAssociationsResult,
    IamInstanceProfileAssociation,
};
use karri_proto::aws::filter::Filterable;
use karri_proto::fault::FaultCode;

pub async fn describe_iam_instance_profile_associations(
    _: Cx,
    request: DescribeIamInstanceProfileAssociationsRequest,
) -> Answer<DescribeIamInstanceProfileAssociationsResult> {
    let none: Vec<(String, IamInstanceProfileAssociation)> = Vec::new();
    let missing = |ids: &[&str]| absent(FaultCode::InvalidAssociationIdNotFound, "association ID", ids);
    let found = named(&request.association_ids, none, |(id, _)| id, missing)?;
    let found = found.into_iter().map(|(_, one)| one).collect();
    let key = |one: &IamInstanceProfileAssociation| one.association_id.clone().unwrap_or_default();
    let (iam_instance_profile_associations, next_token) = page(&request, found, key)?;
    Ok(DescribeIamInstanceProfileAssociationsResult { iam_instance_profile_associations, next_token })
}

impl Filterable for Shown<IamInstanceProfileAssociation> {
    const FILTERS: &'static [&'static str] = &["instance-id", "state"];
    const TAGGED: bool = false;

    fn filter_values(&self, name: &str, each: &mut dyn FnMut(&str)) {
        match name {
            "instance-id" => tell(each, &self.0.instance_id),
            "state" => tell(each, &self.0.state),
            _ => {}
        }
    }
}
