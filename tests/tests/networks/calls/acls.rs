//! Network ACLs, their entries, and which subnets go by them.

use super::{ACLS_MAX, Caller, Words, all};
use crate::model::{Acl, Entry, Traffic};
use crate::world::associations;
use crate::xml::Element;
use rand::Rng;
use rand::seq::SliceRandom;

/// As they are numbered.
const PLACES: [u16; 3] = [50, 90, 100];

impl Caller<'_> {
    /// A new one lets nothing through; most are given something.
    pub(super) async fn acl_create(&mut self) -> Option<()> {
        let vpc = self.any(self.model.vpcs.clone().into_keys())?;
        if self.model.acls.len() >= ACLS_MAX {
            return None;
        }
        let answer = self.call("CreateNetworkAcl", vec![("VpcId", vpc.clone())], Ok(())).await?;
        let id = answer.one("networkAclId");
        self.model.acls.insert(id.clone(), Acl { vpc, entries: Default::default() });
        for outward in [true, false] {
            if self.rng.gen_bool(0.8) {
                self.entry_put("CreateNetworkAclEntry", &id, (outward, 100), all(), Ok(())).await;
            }
        }
        Some(())
    }

    pub(super) async fn acl_delete(&mut self) -> Option<()> {
        let (id, acl) = self.any(self.model.acls.clone().into_iter())?;
        let default = self.model.vpcs[&acl.vpc].default_acl == id;
        let used = self.model.subnets.values().any(|subnet| subnet.acl == id);
        let expected = match (default, used) {
            (true, _) => Err("InvalidParameterValue"),
            (false, true) => Err("DependencyViolation"),
            (false, false) => Ok(()),
        };
        self.call("DeleteNetworkAcl", vec![("NetworkAclId", id.clone())], expected).await?;
        self.model.acls.remove(&id);
        Some(())
    }

    pub(super) async fn acl_associate(&mut self) -> Option<()> {
        let (id, subnet) = self.any(self.model.subnets.clone().into_iter())?;
        let (acl, of) =
            self.any(self.model.acls.clone().into_iter().filter(|(acl, _)| *acl != subnet.acl))?;
        let words = [("NetworkAclId.1", subnet.acl.as_str())];
        let told = Element::parse(&self.client.ec2("DescribeNetworkAcls", &words).await.ok().text);
        let known = associations(told.items("networkAclSet").first()?, "networkAcl");
        let (_, association) = known.into_iter().find(|(of, _)| of.as_ref() == Some(&id)).unwrap();
        let expected = if of.vpc == subnet.vpc { Ok(()) } else { Err("InvalidParameterValue") };
        let words = vec![("AssociationId", association), ("NetworkAclId", acl.clone())];
        self.call("ReplaceNetworkAclAssociation", words, expected).await?;
        self.model.subnets.get_mut(&id)?.acl = acl;
        Some(())
    }

    fn place(&mut self) -> (bool, u16) {
        (self.rng.gen_bool(0.4), *PLACES.choose(&mut self.rng).unwrap_or(&PLACES[0]))
    }

    fn entry(&mut self) -> Entry {
        Entry { allow: self.rng.gen_bool(0.5), traffic: self.traffic(), range: self.range() }
    }

    pub(super) async fn entry_create(&mut self) -> Option<()> {
        let (id, acl) = self.any(self.model.acls.clone().into_iter())?;
        let (place, entry) = (self.place(), self.entry());
        let taken = acl.entries.contains_key(&place);
        let expected = if taken { Err("NetworkAclEntryAlreadyExists") } else { Ok(()) };
        self.entry_put("CreateNetworkAclEntry", &id, place, entry, expected).await
    }

    pub(super) async fn entry_replace(&mut self) -> Option<()> {
        let (id, acl) = self.any(self.model.acls.clone().into_iter())?;
        let (place, entry) = (self.place(), self.entry());
        let there = acl.entries.contains_key(&place);
        let expected = if there { Ok(()) } else { Err("InvalidNetworkAclEntry.NotFound") };
        self.entry_put("ReplaceNetworkAclEntry", &id, place, entry, expected).await
    }

    async fn entry_put(
        &mut self,
        action: &str,
        acl: &str,
        place: (bool, u16),
        entry: Entry,
        expected: super::Expected,
    ) -> Option<()> {
        let mut words: Words = vec![
            ("NetworkAclId", acl.to_owned()),
            ("RuleNumber", place.1.to_string()),
            ("Egress", place.0.to_string()),
            ("RuleAction", if entry.allow { "allow".into() } else { "deny".into() }),
            ("CidrBlock", entry.range.to_string()),
        ];
        let mut ports = |protocol: &str, from: u16, to: u16| {
            words.push(("Protocol", protocol.into()));
            words.push(("PortRange.From", from.to_string()));
            words.push(("PortRange.To", to.to_string()));
        };
        match entry.traffic {
            Traffic::All => words.push(("Protocol", "-1".into())),
            Traffic::Tcp(from, to) => ports("6", from, to),
            Traffic::Udp(from, to) => ports("17", from, to),
            Traffic::Icmp(kind) => {
                words.push(("Protocol", "1".into()));
                words.push(("Icmp.Type", kind.map_or("-1".into(), |kind| kind.to_string())));
                words.push(("Icmp.Code", "-1".into()));
            }
        }
        self.call(action, words, expected).await?;
        self.model.acls.get_mut(acl)?.entries.insert(place, entry);
        Some(())
    }

    pub(super) async fn entry_delete(&mut self) -> Option<()> {
        let (id, acl) = self.any(self.model.acls.clone().into_iter())?;
        let place = self.place();
        let there = acl.entries.contains_key(&place);
        let expected = if there { Ok(()) } else { Err("InvalidNetworkAclEntry.NotFound") };
        let words = vec![
            ("NetworkAclId", id.clone()),
            ("RuleNumber", place.1.to_string()),
            ("Egress", place.0.to_string()),
        ];
        self.call("DeleteNetworkAclEntry", words, expected).await?;
        self.model.acls.get_mut(&id)?.entries.remove(&place);
        Some(())
    }
}
