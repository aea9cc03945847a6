//! Every listing of networks and instances that has pages: walked, they come to the whole.

use crate::support::vpc::{Routed, routed, subnet, told};
use crate::support::{Answer, Client, Cloud, Database};
use karri_clc::config::Limits;
use std::collections::BTreeSet;

/// More than the smallest page of any of them.
const EACH: usize = 6;

struct Listing {
    action: &'static str,
    /// What one item is known by.
    element: &'static str,
    /// The smallest page.
    least: usize,
    /// The largest.
    most: usize,
    words: Vec<(&'static str, String)>,
}

impl Listing {
    fn new(action: &'static str, element: &'static str, least: usize) -> Self {
        Self { action, element, least, most: 1000, words: Vec::new() }
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.words.push((name, value.to_owned()));
        self
    }

    fn at_most(mut self, most: usize) -> Self {
        self.most = most;
        self
    }

    async fn ask(&self, client: &Client, more: &[(&str, &str)]) -> Answer {
        let own = self.words.iter().map(|(name, value)| (*name, value.as_str()));
        client.ec2(self.action, &own.chain(more.iter().copied()).collect::<Vec<_>>()).await
    }

    /// How many items that is; an item may name itself more than once.
    fn count(&self, answer: &Answer) -> usize {
        answer.all(self.element).into_iter().collect::<BTreeSet<_>>().len()
    }

    async fn is_walked(&self, client: &Client) {
        let Self { action, element, least, .. } = self;
        let whole = self.ask(client, &[]).await.ok();
        assert!(self.count(&whole) > *least, "{action}: {}", whole.text);
        assert_eq!(whole.first("nextToken"), None, "{action}: all that there is");
        let (mut seen, mut token, mut first) = (Vec::new(), String::new(), None);
        // Tokens that go round would go on for ever.
        for pages in 0.. {
            assert!(pages <= self.count(&whole), "{action} does not end");
            let page = [("MaxResults", &*least.to_string()), ("NextToken", &token)];
            let page = self.ask(client, &page).await.ok();
            seen.extend(page.all(element));
            let Some(next) = page.first("nextToken") else { break };
            assert_eq!(self.count(&page), *least, "{action}: {}", page.text);
            token = next;
            first.get_or_insert_with(|| token.clone());
        }
        assert_eq!(seen, whole.all(element), "{action}");
        let first = first.unwrap_or_else(|| panic!("{action} has a second page"));
        self.goes_by_its_own_tokens(client, &first).await;
    }

    async fn goes_by_its_own_tokens(&self, client: &Client, token: &str) {
        let mut changed = token.to_owned().into_bytes();
        changed[0] = if changed[0] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        for wrong in ["nonsense", changed.as_str()] {
            let refused = self.ask(client, &[("NextToken", wrong)]).await;
            let refused = refused.refused(400, "InvalidParameterValue");
            assert!(refused.message().contains("for parameter NextToken is invalid"), "{}", refused.text);
        }
    }

    async fn keeps_to_its_sizes(&self, client: &Client) {
        let (below, above) = ((self.least - 1).to_string(), (self.most + 1).to_string());
        for size in [below.as_str(), "-1", above.as_str(), "2147483648", "many"] {
            let refused = self.ask(client, &[("MaxResults", size)]).await;
            let refused = refused.refused(400, "InvalidParameterValue");
            assert!(refused.message().contains("axResults"), "{} {size}: {}", self.action, refused.text);
        }
        self.ask(client, &[("MaxResults", &self.most.to_string())]).await.ok();
    }
}

/// Prefix lists, the last one with an entry and a group for each of so many.
async fn prefix_lists(client: &Client, vpc: &str) -> String {
    let mut list = String::new();
    for number in 0..EACH {
        let name = format!("list-{number}");
        let fixed = [("PrefixListName", name.as_str()), ("AddressFamily", "IPv4"), ("MaxEntries", "6")];
        let entries: Vec<(String, String)> =
            (1..=EACH).map(|at| (format!("Entry.{at}.Cidr"), format!("10.{at}.0.0/16"))).collect();
        let entries = entries.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let words: Vec<(&str, &str)> = fixed.into_iter().chain(entries).collect();
        list = told(client, "CreateManagedPrefixList", &words, "prefixListId").await;
    }
    for number in 0..EACH {
        let name = format!("group-{number}");
        let words = [("GroupName", name.as_str()), ("GroupDescription", "d"), ("VpcId", vpc)];
        let group = told(client, "CreateSecurityGroup", &words, "groupId").await;
        let rule = [
            ("GroupId", group.as_str()),
            ("IpPermissions.1.IpProtocol", "tcp"),
            ("IpPermissions.1.FromPort", "22"),
            ("IpPermissions.1.ToPort", "22"),
            ("IpPermissions.1.PrefixListIds.1.PrefixListId", list.as_str()),
        ];
        client.ec2("AuthorizeSecurityGroupIngress", &rule).await.ok();
    }
    list
}

async fn networks(client: &Client, vpc: &str, first: &str) {
    for number in 1..=EACH {
        let within = subnet(client, vpc, &format!("10.0.{number}.0/24")).await;
        let options = [
            ("DhcpConfiguration.1.Key", "domain-name"),
            ("DhcpConfiguration.1.Value.1", &*format!("{number}.example")),
        ];
        client.ec2("CreateDhcpOptions", &options).await.ok();
        client.ec2("CreateVpc", &[("CidrBlock", "10.0.0.0/16")]).await.ok();
        client.ec2("CreateInternetGateway", &[]).await.ok();
        client.ec2("AllocateAddress", &[("Domain", "vpc")]).await.ok();
        for action in ["CreateRouteTable", "CreateNetworkAcl"] {
            client.ec2(action, &[("VpcId", vpc)]).await.ok();
        }
        client.ec2("CreateNetworkInterface", &[("SubnetId", &within)]).await.ok();
        let private = [("SubnetId", first), ("ConnectivityType", "private")];
        client.ec2("CreateNatGateway", &private).await.ok();
        let tag = [("ResourceId.1", vpc), ("Tag.1.Key", &*format!("key-{number}")), ("Tag.1.Value", "v")];
        client.ec2("CreateTags", &tag).await.ok();
    }
}

/// Pages are cut from what was read, whichever database that was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_come_to_the_whole() {
    let limits = Limits {
        vpcs_per_account: 10,
        internet_gateways_per_account: 10,
        nat_gateways_per_zone: 10,
        elastic_addresses_per_account: 10,
        ..Limits::default()
    };
    let cloud = Cloud::start_with(Database::Sqlite, limits).await;
    let _cluster = cloud.cluster("zone-a", 4).await;
    let alice = cloud.owner().await;
    let Routed { vpc, subnet, .. } = routed(&alice).await;
    alice.run(EACH, &[("SubnetId", &subnet)]).await.ok();
    networks(&alice, &vpc, &subnet).await;
    let list = prefix_lists(&alice, &vpc).await;
    for listing in [
        Listing::new("DescribeAddressesAttribute", "allocationId", 1).with("Attribute", "domain-name"),
        Listing::new("DescribeDhcpOptions", "dhcpOptionsId", 5),
        Listing::new("DescribeInstanceCreditSpecifications", "instanceId", 5),
        Listing::new("DescribeInstanceStatus", "instanceId", 5).with("IncludeAllInstances", "true"),
        Listing::new("DescribeInstanceTypeOfferings", "instanceType", 5),
        Listing::new("DescribeInstanceTypes", "instanceType", 5).at_most(100),
        Listing::new("DescribeInstances", "instanceId", 5),
        Listing::new("DescribeInternetGateways", "internetGatewayId", 5),
        Listing::new("DescribeManagedPrefixLists", "prefixListId", 1).at_most(100),
        Listing::new("DescribeNatGateways", "natGatewayId", 5),
        Listing::new("DescribeNetworkAcls", "networkAclId", 5),
        Listing::new("DescribeNetworkInterfaces", "networkInterfaceId", 5),
        Listing::new("DescribeRouteTables", "routeTableId", 5).at_most(100),
        Listing::new("DescribeSecurityGroupRules", "securityGroupRuleId", 5),
        Listing::new("DescribeSecurityGroups", "groupName", 5)
            .with("Filter.1.Name", "vpc-id")
            .with("Filter.1.Value.1", &vpc),
        Listing::new("DescribeSubnets", "subnetId", 5),
        Listing::new("DescribeTags", "key", 5),
        Listing::new("DescribeVolumes", "volumeId", 5),
        Listing::new("DescribeVpcs", "vpcId", 5),
        Listing::new("GetManagedPrefixListAssociations", "resourceId", 5)
            .at_most(255)
            .with("PrefixListId", &list),
        Listing::new("GetManagedPrefixListEntries", "cidr", 1).at_most(100).with("PrefixListId", &list),
    ] {
        listing.is_walked(&alice).await;
        listing.keeps_to_its_sizes(&alice).await;
    }
    // There is never anything in these.
    for action in ["DescribeIamInstanceProfileAssociations", "DescribePrefixLists", "DescribeVpcEndpoints"] {
        let listing = Listing::new(action, "", 5);
        listing.keeps_to_its_sizes(&alice).await;
        listing.ask(&alice, &[("NextToken", "nonsense")]).await.refused(400, "InvalidParameterValue");
    }
    a_token_is_of_one_question(&alice, &vpc).await;
}

async fn a_token_is_of_one_question(client: &Client, vpc: &str) {
    let page = client.ec2("DescribeSubnets", &[("MaxResults", "5")]).await.ok();
    let token = page.one("nextToken");
    let go_on = ("NextToken", token.as_str());
    let other = [go_on, ("Filter.1.Name", "vpc-id"), ("Filter.1.Value.1", vpc)];
    client.ec2("DescribeSubnets", &other).await.refused(400, "InvalidParameterValue");
    client.ec2("DescribeVpcs", &[go_on]).await.refused(400, "InvalidParameterValue");
    client.ec2("DescribeSubnets", &[go_on]).await.ok();
}
