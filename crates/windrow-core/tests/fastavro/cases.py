# Schemas and values, written by fastavro: `python3 cases.py SEED COUNT` prints one case a line:
# {"schema": …, "hex": …, "row": the value's JSON as Windrow's documentation has it, made from what fastavro reads back}.
# `python3 cases.py SEED COUNT evolved` adds a "reader": a schema that the first one became; "row" is null where that cannot read the value.
import base64, datetime, decimal, io, json, math, random, sys, uuid

import fastavro

seed, count = int(sys.argv[1]), int(sys.argv[2])
rng = random.Random(seed)
names = iter(f"N{i}" for i in range(1_000_000))
UTC = datetime.timezone.utc
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=UTC)
LEAVES = ["null", "boolean", "int", "long", "float", "double", "bytes", "string", "fixed", "enum", "date",
          "timestamp-millis", "timestamp-micros", "decimal", "fixed-decimal", "uuid"]


def schema(depth):
    kind = rng.choice(LEAVES + (["array", "map", "union", "scalars", "record"] if depth else []))
    if kind == "fixed":
        return {"type": "fixed", "name": next(names), "size": rng.randrange(1, 9)}
    if kind == "enum":
        return {"type": "enum", "name": next(names), "symbols": ["A", "B", "C"]}
    if kind == "date":
        return {"type": "int", "logicalType": "date"}
    if kind.startswith("timestamp"):
        return {"type": "long", "logicalType": kind}
    if kind == "decimal":
        return {"type": "bytes", "logicalType": "decimal", "precision": 30, "scale": rng.randrange(6)}
    if kind == "fixed-decimal":
        return {"type": "fixed", "name": next(names), "size": 13, "logicalType": "decimal", "precision": 30, "scale": 3}
    if kind == "uuid":
        return {"type": "string", "logicalType": "uuid"}
    if kind == "array":
        return {"type": "array", "items": schema(depth - 1)}
    if kind == "map":
        return {"type": "map", "values": schema(depth - 1)}
    if kind == "union":
        return ["null", record(depth - 1)]
    if kind == "scalars":
        order = ["string", "bytes", "float", "long", "int", "boolean"]
        rng.shuffle(order)
        return order
    return record(depth - 1) if kind == "record" else kind


def record(depth):
    fields = [{"name": f"f{i}", "type": schema(depth)} for i in range(rng.randrange(6))]
    return {"type": "record", "name": next(names), "fields": fields}


def value(s):
    if isinstance(s, list):
        if s[0] == "null":
            return value(s[1]) if rng.random() < 0.7 else None
        branch = rng.choice(s)
        return (branch, value(branch))
    kind = s["type"] if isinstance(s, dict) else s
    logical = s.get("logicalType") if isinstance(s, dict) else None
    if logical == "date":
        return datetime.date(1970, 1, 1) + datetime.timedelta(days=rng.randrange(-50_000, 50_000))
    if logical == "timestamp-millis":
        return EPOCH + datetime.timedelta(milliseconds=rng.randrange(-10**13, 10**13))
    if logical == "timestamp-micros":
        return EPOCH + datetime.timedelta(microseconds=rng.randrange(-10**16, 10**16))
    if logical == "decimal":
        return decimal.Decimal(rng.randrange(-10**rng.randrange(1, 30), 10**29)).scaleb(-s["scale"])
    if logical == "uuid":
        return uuid.UUID(int=rng.getrandbits(128))
    if kind == "boolean":
        return rng.random() < 0.5
    if kind in ("int", "long"):
        bits = 32 if kind == "int" else 64
        return rng.getrandbits(bits) - 2 ** (bits - 1) >> rng.randrange(bits)
    if kind in ("float", "double"):
        return rng.choice([0.0, -0.0, 23.1, 1e30, -2.5e-7, math.nan, math.inf, rng.uniform(-1e6, 1e6)])
    if kind == "bytes":
        return rng.randbytes(rng.randrange(20))
    if kind == "string":
        return rng.choice(["", "a", "\u00e4\"\\\n\x01", "\U0001f32a" * 40])
    if kind == "fixed":
        return rng.randbytes(s["size"])
    if kind == "enum":
        return rng.choice(s["symbols"])
    if kind == "array":
        return [value(s["items"]) for _ in range(rng.randrange(4))]
    if kind == "map":
        return {f"k{i}": value(s["values"]) for i in range(rng.randrange(4))}
    if kind == "record":
        return {f["name"]: value(f["type"]) for f in s["fields"]}
    return None


def row(v):
    if v is None or isinstance(v, bool) or isinstance(v, str):
        return json.dumps(v)
    if isinstance(v, int):
        return str(v)
    if isinstance(v, float):
        return repr(v) if math.isfinite(v) else "null"
    if isinstance(v, decimal.Decimal):
        return format(v, "f")
    if isinstance(v, uuid.UUID):
        return json.dumps(str(v))
    if isinstance(v, datetime.datetime):
        return str((v - EPOCH) // datetime.timedelta(milliseconds=1))
    if isinstance(v, datetime.date):
        return str((v - datetime.date(1970, 1, 1)).days * 86_400_000)
    if isinstance(v, bytes):
        return json.dumps(base64.b64encode(v).decode())
    if isinstance(v, list):
        return "[" + ",".join(map(row, v)) + "]"
    return "{" + ",".join(f"{json.dumps(k)}:{row(x)}" for k, x in v.items()) + "}"


SENSORS = {
    "type": "record", "name": "DataRecord", "namespace": "stcs.avro",
    "fields": [
        {"name": "timestamp", "type": "double"},
        {"name": "data", "type": {"type": "map", "values": ["string", "bytes", "float", "long", "int", "boolean"]}},
    ],
}
READINGS = {
    "timestamp": 1485907200.123,
    "data": {"TSOPO": ("float", 23.1), "CC_1": ("boolean", True), "n": ("int", -1), "big": ("long", 2**62),
             "raw": ("bytes", b"\xff\x00"), "name": ("string", "chillii")},
}


def emit(s, v):
    out = io.BytesIO()
    parsed = fastavro.parse_schema(json.loads(json.dumps(s)))
    fastavro.schemaless_writer(out, parsed, v)
    out.seek(0)
    print(json.dumps({"schema": s, "hex": out.getvalue().hex(), "row": row(fastavro.schemaless_reader(out, parsed))}))


def default(s):
    """A type with a default that fastavro takes as it stands."""
    return rng.choice([
        ("int", -7), ("long", 2**40), ("double", 0.25), ("boolean", True), ("string", "\u00e4"), (["null", "int"], None),
        ({"type": "array", "items": "long"}, [1, 2]), ({"type": "map", "values": "string"}, {"k": "v"}),
        ({"type": "enum", "name": next(names), "symbols": ["X", "Y"]}, "Y"),
        ({"type": "record", "name": next(names), "fields": [{"name": "a", "type": "int"}]}, {"a": 3}),
    ])


def evolved(s):
    """What became of a schema: mostly something that reads the former, now and then something that does not."""
    if isinstance(s, list):
        if s[0] == "null" and rng.random() < 0.2:
            return evolved(s[1])
        if "string" in s:
            # By the letter the first branch that takes a value reads it, even where its own one comes later: fastavro reads a string
            # of ["bytes", "string"] as bytes. Here the same type goes first; so does it in this order for both.
            return ["boolean", "int", "long", "float", "string"]
        return [evolved(b) if isinstance(b, dict) else b for b in s]
    kind = s["type"] if isinstance(s, dict) else s
    if isinstance(s, dict) and "logicalType" in s:
        return s
    if kind == "record":
        fields = []
        for f in s["fields"]:
            chance = rng.random()
            if chance < 0.2:
                continue
            f = {"name": f["name"], "type": evolved(f["type"])}
            if chance < 0.4:
                f = {"name": "new_" + f["name"], "aliases": ["other", f["name"]], "type": f["type"]}
            fields.append(f)
        for i in range(rng.randrange(3)):
            ty, of = default(s)
            fields.append({"name": f"added{i}", "type": ty, "default": of})
        if rng.random() < 0.05:
            fields.append({"name": "needed", "type": "int"})
        rng.shuffle(fields)
        return {"type": "record", "name": s["name"], "fields": fields}
    if kind == "array":
        return {"type": "array", "items": evolved(s["items"])}
    if kind == "map":
        return {"type": "map", "values": evolved(s["values"])}
    if kind == "enum":
        symbols = [x for x in s["symbols"] + ["D"] if rng.random() < 0.8] or ["D"]
        rng.shuffle(symbols)
        return {**s, "symbols": symbols, **({"default": symbols[0]} if rng.random() < 0.5 else {})}
    if kind == "fixed":
        return s
    # Neither is an int made a float of 32 bits: fastavro keeps more digits than those have.
    to = {"int": ["long", "double"], "long": ["double"], "float": ["double"], "string": ["bytes"], "bytes": ["bytes"]}
    choices = [kind, kind] + to.get(kind, [])
    if rng.random() < 0.1:
        choices = ["int", "string", "boolean"]
    kind = rng.choice(choices)
    return ["null", kind] if kind != "null" and rng.random() < 0.2 else kind


def emit_evolved(s, reader, v):
    out = io.BytesIO()
    parsed, ours = (fastavro.parse_schema(json.loads(json.dumps(x))) for x in (s, reader))
    fastavro.schemaless_writer(out, parsed, v)
    out.seek(0)
    try:
        read = row(fastavro.schemaless_reader(out, parsed, ours))
    except fastavro.read.SchemaResolutionError:
        read = None
    except UnicodeDecodeError:
        # Bytes that were to become text.
        return
    print(json.dumps({"schema": s, "reader": reader, "hex": out.getvalue().hex(), "row": read}))


if sys.argv[3:] == ["evolved"]:
    for _ in range(count):
        s = record(3)
        reader = evolved(s)
        for _ in range(4):
            emit_evolved(s, reader, value(s))
else:
    emit(SENSORS, READINGS)
    for _ in range(count):
        s = record(3)
        for _ in range(4):
            emit(s, value(s))
