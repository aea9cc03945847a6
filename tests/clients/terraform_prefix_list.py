"""What Terraform's AWS provider does for `aws_ec2_managed_prefix_list`, and for a rule of a security group that names one."""

from cloud import wait_until
from terraform import only
from terraform_network import STATE_SECONDS, Resource, in_time, specified, tags_of


class ManagedPrefixList(Resource):
    def create(self, config):
        answer = self.ec2.create_managed_prefix_list(
            AddressFamily="IPv4", Entries=config["entry"], MaxEntries=config["max_entries"],
            PrefixListName=config["name"], TagSpecifications=specified("prefix-list", config["tags"]))
        one = answer["PrefixList"]["PrefixListId"]
        self.settled(one, "create-complete")
        return one

    def list(self, one):
        return self.find(self.ec2.describe_managed_prefix_lists, "PrefixLists", "InvalidPrefixListID.NotFound",
                         PrefixListIds=[one])

    def settled(self, one, state):
        wait_until(f"{one} {state}", lambda: self.list(one)["State"] == state, STATE_SECONDS)

    def read(self, one):
        found = self.list(one)
        if found is None:
            return None
        pages = self.ec2.get_paginator("get_managed_prefix_list_entries").paginate(PrefixListId=one)
        entries = [(e["Cidr"], e.get("Description", "")) for page in pages for e in page["Entries"]]
        return {"address_family": found["AddressFamily"], "entry": entries, "max_entries": found["MaxEntries"],
                "name": found["PrefixListName"], "owner_id": found["OwnerId"], "version": found["Version"],
                "tags": tags_of(found), "arn": found["PrefixListArn"].rsplit("/", 1)[1]}

    def describe_anew(self, one, cidr, description):
        """A description alone: the provider takes the entry away and adds it again, each in a request."""
        for change in ({"RemoveEntries": [{"Cidr": cidr}]},
                       {"AddEntries": [{"Cidr": cidr, "Description": description}]}):
            found = self.list(one)
            self.ec2.modify_managed_prefix_list(PrefixListId=one, PrefixListName=found["PrefixListName"],
                                                CurrentVersion=found["Version"], **change)
            self.settled(one, "modify-complete")

    def resize(self, one, count):
        self.ec2.modify_managed_prefix_list(PrefixListId=one, MaxEntries=count)
        self.settled(one, "modify-complete")

    def delete(self, one):
        in_time(lambda: self.ec2.delete_managed_prefix_list(PrefixListId=one))
        wait_until(f"{one} gone", lambda: self.list(one) is None, STATE_SECONDS)


class IngressRule(Resource):
    """`aws_vpc_security_group_ingress_rule` with `prefix_list_id`."""

    def create(self, config):
        permission = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443,
                      "PrefixListIds": [{"PrefixListId": config["prefix_list_id"]}]}
        answer = self.ec2.authorize_security_group_ingress(GroupId=config["group"], IpPermissions=[permission])
        return only(answer["SecurityGroupRules"])["SecurityGroupRuleId"]

    def read(self, one):
        found = self.find(self.ec2.describe_security_group_rules, "SecurityGroupRules",
                          "InvalidSecurityGroupRuleId.NotFound", SecurityGroupRuleIds=[one])
        return found and {"group": found["GroupId"], "prefix_list_id": found["PrefixListId"],
                          "ports": (found["FromPort"], found["ToPort"]), "cidr": found.get("CidrIpv4")}

    def delete(self, one):
        group = self.read(one)["group"]
        self.ec2.revoke_security_group_ingress(GroupId=group, SecurityGroupRuleIds=[one])
