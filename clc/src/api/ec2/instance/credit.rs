//! CPU credits of burstable instances: the mode that their launch asks for, else
//! that of their type. Nothing throttles them.

use super::control::parse_ids;
use crate::api::cx::{Answer, Cx};
use crate::api::ec2::listing::{Shown, ids_or_page, page, tell};
use crate::app::instance::{Instance, State};
use crate::app::instance_type::Credits;
use karri_proto::aws::ec2::{
    DescribeInstanceCreditSpecificationsRequest, DescribeInstanceCreditSpecificationsResult,
    InstanceCreditSpecification,
};
use karri_proto::aws::filter::Filterable;
use karri_proto::fault::Fault;

pub async fn describe_instance_credit_specifications(
    cx: Cx,
    request: DescribeInstanceCreditSpecificationsRequest,
) -> Answer<DescribeInstanceCreditSpecificationsResult> {
    ids_or_page(&request.instance_ids, request.max_results, "instancesSet")?;
    let credits = |one: &Instance| {
        cx.app.catalogue.get(&one.spec.instance_type).and_then(|kind| one.said.credits(kind))
    };
    let found = if request.instance_ids.is_empty() {
        // EC2 names only those with unlimited credits to who asks for none in particular.
        let mut own = cx.app.instances.of_account(cx.account());
        own.retain(|one| one.state != State::Terminated && credits(one) == Some(Credits::Unlimited));
        own
    } else {
        cx.app.instances_named(cx.caller(), &parse_ids(&request.instance_ids)?)?
    };
    let mut shown = Vec::with_capacity(found.len());
    for one in &found {
        let mode = credits(one).ok_or_else(|| {
            let kind = &one.spec.instance_type;
            Fault::invalid_parameter(format!("The instance '{}' of type {kind} has no CPU credits", one.id))
        })?;
        shown.push(InstanceCreditSpecification {
            cpu_credits: Some(mode.as_str().to_owned()),
            instance_id: Some(one.id.to_string()),
        });
    }
    let key = |one: &InstanceCreditSpecification| one.instance_id.clone().unwrap_or_default();
    let (instance_credit_specifications, next_token) = page(&request, shown, key)?;
    Ok(DescribeInstanceCreditSpecificationsResult { instance_credit_specifications, next_token })
}

impl Filterable for Shown<InstanceCreditSpecification> {
    const FILTERS: &'static [&'static str] = &["instance-id"];
    const TAGGED: bool = false;

    fn filter_values(&self, name: &str, each: &mut dyn FnMut(&str)) {
        if name == "instance-id" {
            tell(each, &self.0.instance_id);
        }
    }
}
