"""botocore as the judge of Karri's AWS wire types.

Asks on standard output, hears on standard input (JSON lines; `karri_proto::aws::judge::serve`), and
reports on standard error. For each modelled action botocore serialises random valid inputs, and what
our decoder saw must equal them; our encoder writes random answers, and what botocore parses must equal
them. Every member of every shape must have been seen at least once. Exit status 0 means agreement.

KARRI_JUDGE_CASES is the number of cases per action and direction, KARRI_JUDGE_SEED the first seed.
"""

import base64
import datetime
import json
import os
import pathlib
import random
import re
import sys

import botocore
import botocore.awsrequest
import botocore.loaders
import botocore.model
import botocore.parsers
import botocore.serialize
import botocore.validate

CASES = int(os.environ.get("KARRI_JUDGE_CASES", "40"))
SEED = int(os.environ.get("KARRI_JUDGE_SEED", "1"))
SERVICES = ("ec2", "sts")
LETTERS = "aZ09-_.~*/:;@ &=+%#?<>\"'\\\n\t\r\u00e9\u4e2d\U0001d11e\u0301,[]{}"
DEPTH_MAX = 8
WRONG = []


def ask(**question):
    sys.stdout.write(json.dumps(question) + "\n")
    sys.stdout.flush()
    line = sys.stdin.readline()
    if not line:
        sys.exit("the other side has gone")
    return json.loads(line)


def wrong(*what):
    WRONG.append(what)
    if len(WRONG) <= 20:
        print("WRONG:", *what, file=sys.stderr)


class Inputs:
    """Random valid inputs of a shape. A full one leaves nothing out."""

    def __init__(self, seed, full):
        self.random = random.Random(seed)
        self.full = full
        self.depth = 0

    def make(self, shape, required=False):
        self.depth += 1
        try:
            return getattr(self, "make_" + shape.type_name)(shape, required)
        finally:
            self.depth -= 1

    def wanted(self):
        return self.depth < DEPTH_MAX and (self.full or self.random.random() < 0.5)

    def make_structure(self, shape, required):
        value = {}
        for name, member in shape.members.items():
            # Our Filter always has a name: EC2 itself calls a nameless one 'null'.
            must = name in shape.required_members or (shape.name, name) == ("Filter", "Name")
            if must or self.wanted():
                value[name] = self.make(member, must)
        if required and hollow(value):
            name, member = self.random.choice(list(shape.members.items()))
            value[name] = self.make(member, True)
        return value

    def make_list(self, shape, required):
        least = 1 if required or self.full else 0
        return [self.make(shape.member, True) for _ in range(self.random.randint(least, 3))]

    def make_string(self, shape, required):
        if shape.enum:
            return self.random.choice(shape.enum)
        least = max(shape.metadata.get("min", 0), 1 if required else 0)
        most = min(shape.metadata.get("max", 40), least + 12)
        return "".join(self.random.choice(LETTERS) for _ in range(self.random.randint(least, most)))

    def make_integer(self, shape, required):
        least, most = shape.metadata.get("min", -(2**31)), shape.metadata.get("max", 2**31 - 1)
        return self.random.choice([least, most, self.random.randint(least, most)])

    def make_long(self, shape, required):
        return self.random.choice([-(2**63), 2**63 - 1, self.random.randint(-(2**63), 2**63 - 1)])

    def make_double(self, shape, required):
        return self.random.uniform(-1e9, 1e9)

    make_float = make_double

    def make_boolean(self, shape, required):
        return self.random.random() < 0.5

    def make_blob(self, shape, required):
        return self.random.randbytes(self.random.randint(1, 40))

    def make_timestamp(self, shape, required):
        micros = self.random.choice([0, 0, self.random.randrange(10**6)])
        stamp = self.random.randrange(4 * 10**9)
        at = datetime.datetime.fromtimestamp(stamp, datetime.timezone.utc)
        return at.replace(microsecond=micros)


def hollow(value):
    """Nothing of it can be sent: a form has no way to say `{}` or `[]`."""
    if isinstance(value, dict):
        return all(map(hollow, value.values()))
    return isinstance(value, list) and all(map(hollow, value))


def without_hollow(value):
    """Hollow structures cannot be seen, so they are left out; empty lists stay, to be tried."""
    if isinstance(value, dict):
        kept = {name: without_hollow(member) for name, member in value.items()}
        return {name: member for name, member in kept.items() if not (isinstance(member, dict) and hollow(member))}
    return [without_hollow(item) for item in value] if isinstance(value, list) else value


def plain(shape, value, seen):
    """botocore's value as our dump spells it; notes each member in `seen`."""
    kind = shape.type_name
    if kind == "structure":
        for name in value:
            seen.add((shape.name, name))
        return {name: plain(shape.members[name], member, seen) for name, member in value.items()}
    if kind == "list":
        return [plain(shape.member, item, seen) for item in value]
    if kind == "blob":
        return base64.b64encode(value).decode()
    return value


def differences(shape, theirs, ours, path, asked):
    """Compares by shape. In requests an empty list is the same as none, since it cannot be sent."""
    kind = shape.type_name
    if kind == "structure":
        for name in sorted(set(theirs) | set(ours)):
            left, right = theirs.get(name), ours.get(name)
            if asked and not left and not right and shape.members[name].type_name == "list":
                continue
            if left is None or right is None:
                yield path + [name], left, right
            else:
                yield from differences(shape.members[name], left, right, path + [name], asked)
    elif kind == "list":
        if len(theirs) != len(ours):
            yield path, theirs, ours
        for at, (left, right) in enumerate(zip(theirs, ours)):
            yield from differences(shape.member, left, right, path + [at], asked)
    elif kind == "timestamp":
        if theirs != moment(ours):
            yield path, theirs, ours
    elif theirs != ours or type(theirs) is not type(ours):
        yield path, theirs, ours


def moment(text):
    head, dot, fraction = text.removesuffix("Z").partition(".")
    at = datetime.datetime.fromisoformat(head).replace(tzinfo=datetime.timezone.utc)
    return at.replace(microsecond=int(fraction.ljust(6, "0")[:6]) if dot else 0)


def members_of(shape, into):
    if shape is None:
        return into
    if shape.type_name == "structure":
        for name, member in shape.members.items():
            if (shape.name, name) not in into:
                into.add((shape.name, name))
                members_of(member, into)
    elif shape.type_name == "list":
        members_of(shape.member, into)
    return into


class Judge:
    def __init__(self, service):
        model = botocore.loaders.create_loader().load_service_model(service, "service-2")
        self.service = service
        self.model = botocore.model.ServiceModel(model, service)
        protocol = self.model.metadata["protocol"]
        self.serializer = botocore.serialize.create_serializer(protocol, include_validation=False)
        self.parser = botocore.parsers.create_parser(protocol)
        self.validator = botocore.validate.ParamValidator()
        self.cases = 0

    def form(self, operation, params):
        request = self.serializer.serialize_to_request(params, operation)
        request = botocore.awsrequest.AWSRequest(method="POST", url="http://localhost/", data=request["body"])
        body = request.prepare().body
        return body.decode() if isinstance(body, bytes) else body

    def ask_once(self, operation, case, seen):
        shape = operation.input_shape
        params = without_hollow(Inputs(f"{SEED} {operation.name} {case}", case == 0).make(shape))
        problems = self.validator.validate(params, shape)
        assert not problems.has_errors(), problems.generate_report()
        reply = ask(do="ask", service=self.service, form=self.form(operation, params))
        self.cases += 1
        if "value" not in reply:
            return wrong(operation.name, "request", case, params, reply)
        for path, left, right in differences(shape, plain(shape, params, seen), reply["value"], [], True):
            wrong(operation.name, "request", case, path, "sent", repr(left), "seen", repr(right))

    def answer_once(self, operation, case, seen):
        reply = ask(do="answer", service=self.service, action=operation.name, seed=case and SEED + case)
        response = {"status_code": 200, "headers": {}, "body": reply["xml"].encode()}
        parsed = self.parser.parse(response, operation.output_shape)
        self.cases += 1
        if parsed.pop("ResponseMetadata", {}).get("RequestId") != "the-request-id":
            wrong(operation.name, "answer", case, "request id")
        shape = operation.output_shape
        if shape is None:
            return
        for path, left, right in differences(shape, plain(shape, parsed, seen), reply["value"], [], False):
            wrong(operation.name, "answer", case, path, "parsed", repr(left), "written", repr(right))

    def fault_once(self):
        code, message = "InvalidInstanceID.NotFound", "The instance ID '<i-1> & \"co\"' does not exist"
        xml = ask(do="fault", service=self.service, code=code, message=message)
        response = {"status_code": 400, "headers": {}, "body": xml.encode()}
        parsed = self.parser.parse(response, None)
        heard = (parsed["Error"]["Code"], parsed["Error"]["Message"], parsed["ResponseMetadata"]["RequestId"])
        if heard != (code, message, "the-request-id"):
            wrong(self.service, "fault", parsed)

    def run(self):
        asked, answered, asked_all, answered_all = set(), set(), set(), set()
        names = ask(do="actions", service=self.service)
        for name in names:
            operation = self.model.operation_model(name)
            members_of(operation.input_shape, asked_all)
            members_of(operation.output_shape, answered_all)
            for case in range(CASES):
                self.ask_once(operation, case, asked)
                self.answer_once(operation, case, answered)
        self.fault_once()
        for side, missed in (("requests", asked_all - asked), ("answers", answered_all - answered)):
            if missed:
                wrong(self.service, side, "never exercised:", sorted(missed))
        print(
            f"{self.service}: {len(names)} actions, {self.cases} cases, "
            f"{len(asked_all)} members asked, {len(answered_all)} answered",
            file=sys.stderr,
        )


def same_botocore(service):
    """A newer botocore knows members that our model does not; that is no disagreement."""
    model = pathlib.Path(__file__).parents[2] / "proto" / "model" / f"{service}.txt"
    wanted = re.search(r"^service .*botocore=(\S+)", model.read_text(), re.MULTILINE).group(1)
    if botocore.__version__ != wanted:
        sys.exit(f"{model.name} was made from botocore {wanted}, but this is {botocore.__version__}")


def main():
    for service in SERVICES:
        same_botocore(service)
        Judge(service).run()
    if WRONG:
        sys.exit(f"{len(WRONG)} disagreements")


main()
