//! Security groups and their rules.

use super::{Caller, Words, everywhere};
use crate::model::{Group, Peer, Rule, Traffic};
use crate::support::vpc::told;
use rand::Rng;
use rand::seq::{IteratorRandom, SliceRandom};

/// How EC2 is told of traffic: protocol, and ports or type and code.
fn numbers(traffic: Traffic) -> (&'static str, Option<(i32, i32)>) {
    match traffic {
        Traffic::All => ("-1", None),
        Traffic::Tcp(from, to) => ("tcp", Some((from.into(), to.into()))),
        Traffic::Udp(from, to) => ("udp", Some((from.into(), to.into()))),
        Traffic::Icmp(kind) => ("icmp", Some((kind.map_or(-1, i32::from), -1))),
    }
}

impl Caller<'_> {
    pub(super) async fn group_create(&mut self) -> Option<()> {
        let vpc = self.any(self.model.vpcs.clone().into_keys())?;
        let name = *["web", "db", "ops"].choose(&mut self.rng)?;
        let twice = self.model.groups.values().any(|group| group.vpc == vpc && group.name == name);
        let expected = if twice { Err("InvalidGroup.Duplicate") } else { Ok(()) };
        let words =
            vec![("GroupName", name.into()), ("GroupDescription", "d".into()), ("VpcId", vpc.clone())];
        let answer = self.call("CreateSecurityGroup", words, expected).await?;
        let id = answer.one("groupId");
        let filter = [("Filter.1.Name", "group-id"), ("Filter.1.Value.1", id.as_str())];
        let rule = told(&self.client, "DescribeSecurityGroupRules", &filter, "securityGroupRuleId").await;
        let all = Rule { outward: true, traffic: Traffic::All, peer: Peer::Range(everywhere()) };
        self.model.groups.insert(id, Group { vpc, name: name.into(), rules: [(rule, all)].into() });
        Some(())
    }

    pub(super) async fn group_delete(&mut self) -> Option<()> {
        let (id, group) = self.any(self.model.groups.clone().into_iter())?;
        let by_port = self.model.ports.values().any(|port| port.groups.contains(&id));
        let mut others = self.model.groups.iter().filter(|(other, _)| **other != id);
        let by_rule =
            others.any(|(_, other)| other.rules.values().any(|rule| rule.peer == Peer::Group(id.clone())));
        let expected = match (group.name == "default", by_port || by_rule) {
            (true, _) => Err("CannotDelete"),
            (false, true) => Err("DependencyViolation"),
            (false, false) => Ok(()),
        };
        self.call("DeleteSecurityGroup", vec![("GroupId", id.clone())], expected).await?;
        self.model.groups.remove(&id);
        Some(())
    }

    fn rule(&mut self, vpc: &str, outward: bool) -> Rule {
        let mates = self.model.groups.iter().filter(|(_, other)| other.vpc == *vpc).map(|(id, _)| id.clone());
        let mate = mates.choose(&mut self.rng);
        let list = self.any(self.model.lists.clone().into_keys());
        let peer = match (self.rng.gen_range(0..10), mate, list) {
            (0..=2, Some(mate), _) => Peer::Group(mate),
            (3..=5, _, Some(list)) => Peer::List(list),
            _ => Peer::Range(self.range()),
        };
        Rule { outward, traffic: self.traffic(), peer }
    }

    pub(super) async fn rule_authorise(&mut self) -> Option<()> {
        let (id, group) = self.any(self.model.groups.clone().into_iter())?;
        let outward = self.rng.gen_bool(0.25);
        let rule = self.rule(&group.vpc, outward);
        self.rule_put(id, rule).await
    }

    /// Everything both ways, in what each VPC began with, and who has nothing else between them.
    pub async fn open(&mut self) {
        self.mates().await;
        for vpc in self.model.vpcs.clone().into_values() {
            for outward in [true, false] {
                let rule = Rule { outward, traffic: Traffic::All, peer: Peer::Range(everywhere()) };
                self.rule_put(vpc.default_group.clone(), rule).await;
            }
        }
    }

    async fn rule_put(&mut self, id: String, rule: Rule) -> Option<()> {
        let (group, outward) = (&self.model.groups[&id], rule.outward);
        let twice = group.rules.values().any(|known| *known == rule);
        let expected = if twice { Err("InvalidPermission.Duplicate") } else { Ok(()) };
        let mut words: Words = vec![("GroupId", id.clone())];
        let (protocol, numbers) = numbers(rule.traffic);
        words.push(("IpPermissions.1.IpProtocol", protocol.into()));
        if let Some((from, to)) = numbers {
            words.push(("IpPermissions.1.FromPort", from.to_string()));
            words.push(("IpPermissions.1.ToPort", to.to_string()));
        }
        words.push(match &rule.peer {
            Peer::Range(range) => ("IpPermissions.1.IpRanges.1.CidrIp", range.to_string()),
            Peer::Group(group) => ("IpPermissions.1.Groups.1.GroupId", group.clone()),
            Peer::List(list) => ("IpPermissions.1.PrefixListIds.1.PrefixListId", list.clone()),
        });
        let action = if outward { "AuthorizeSecurityGroupEgress" } else { "AuthorizeSecurityGroupIngress" };
        let answer = self.call(action, words, expected).await?;
        self.model.groups.get_mut(&id)?.rules.insert(answer.one("securityGroupRuleId"), rule);
        Some(())
    }

    /// One of a rule's own group that is there already is said a second time.
    pub(super) async fn rule_modify(&mut self) -> Option<()> {
        let (id, group) = self.any(self.model.groups.clone().into_iter())?;
        let (rule, before) = self.any(group.rules.clone().into_iter())?;
        let after = self.rule(&group.vpc, before.outward);
        let twice = group.rules.iter().any(|(other, known)| *other != rule && *known == after);
        let expected = if twice { Err("InvalidPermission.Duplicate") } else { Ok(()) };
        let mut words: Words = vec![("GroupId", id.clone())];
        words.push(("SecurityGroupRule.1.SecurityGroupRuleId", rule.clone()));
        let (protocol, numbers) = numbers(after.traffic);
        words.push(("SecurityGroupRule.1.SecurityGroupRule.IpProtocol", protocol.into()));
        if let Some((from, to)) = numbers {
            words.push(("SecurityGroupRule.1.SecurityGroupRule.FromPort", from.to_string()));
            words.push(("SecurityGroupRule.1.SecurityGroupRule.ToPort", to.to_string()));
        }
        words.push(match &after.peer {
            Peer::Range(range) => ("SecurityGroupRule.1.SecurityGroupRule.CidrIpv4", range.to_string()),
            Peer::Group(group) => ("SecurityGroupRule.1.SecurityGroupRule.ReferencedGroupId", group.clone()),
            Peer::List(list) => ("SecurityGroupRule.1.SecurityGroupRule.PrefixListId", list.clone()),
        });
        self.call("ModifySecurityGroupRules", words, expected).await?;
        self.model.groups.get_mut(&id)?.rules.insert(rule, after);
        Some(())
    }

    pub(super) async fn rule_revoke(&mut self) -> Option<()> {
        let (id, group) = self.any(self.model.groups.clone().into_iter())?;
        let (rule, what) = self.any(group.rules.into_iter())?;
        let action = if what.outward { "RevokeSecurityGroupEgress" } else { "RevokeSecurityGroupIngress" };
        let words = vec![("GroupId", id.clone()), ("SecurityGroupRuleId.1", rule.clone())];
        self.call(action, words.clone(), Ok(())).await?;
        self.model.groups.get_mut(&id)?.rules.remove(&rule);
        self.call(action, words, Err("InvalidSecurityGroupRuleId.NotFound")).await;
        Some(())
    }
}
