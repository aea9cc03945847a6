"""What the judges share: questions, random inputs, and how botocore's view and ours are compared."""

import base64
import datetime
import email.utils
import json
import os
import random
import sys

import botocore.loaders
import botocore.model
import botocore.parsers
import botocore.serialize
import botocore.validate

CASES = int(os.environ.get("KARRI_JUDGE_CASES", "40"))
SEED = int(os.environ.get("KARRI_JUDGE_SEED", "1"))
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

    depth_max = DEPTH_MAX

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
        return self.depth < self.depth_max and (self.full or self.random.random() < 0.5)

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
    if kind == "map":
        return {name.lower(): text for name, text in value.items()}
    if kind == "blob":
        return base64.b64encode(value).decode()
    return value


def differences(shape, theirs, ours, path, asked):
    """Compares by shape. In requests an empty list or map is the same as none, since it cannot be sent."""
    kind = shape.type_name
    if kind == "structure":
        for name in sorted(set(theirs) | set(ours)):
            left, right = theirs.get(name), ours.get(name)
            if asked and not left and not right and shape.members[name].type_name in ("list", "map"):
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
    if not text[0].isdigit():
        return email.utils.parsedate_to_datetime(text)
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
    """Puts every action of a service through both directions; how, is the protocol's."""

    def __init__(self, service):
        loader = botocore.loaders.create_loader()
        # The model alone, as `cargo xtask model` reads it: without what botocore adds for its users.
        version = loader.determine_latest_version(service, "service-2")
        model = loader.load_data(os.path.join(service, version, "service-2"))
        self.service = service
        self.model = botocore.model.ServiceModel(model, service)
        protocol = self.model.metadata["protocol"]
        self.serializer = botocore.serialize.create_serializer(protocol, include_validation=False)
        self.parser = botocore.parsers.create_parser(protocol)
        self.validator = botocore.validate.ParamValidator()
        self.cases = 0

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
