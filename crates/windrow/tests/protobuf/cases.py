# Schemas and messages, written by the language's own library: `python3 cases.py SEED COUNT` prints one schema a line:
# {"proto": the file's text, "set": the descriptor set in hex, "message": its name,
#  "values": [{"hex": …, "row": the row's JSON as Windrow's documentation has it, made from what the library reads back; null where it refuses}]}
import base64, json, math, random, sys

from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory
from google.protobuf import duration_pb2, struct_pb2, timestamp_pb2, wrappers_pb2

seed, count = int(sys.argv[1]), int(sys.argv[2])
rng = random.Random(seed)
F = descriptor_pb2.FieldDescriptorProto
SCALARS = ["double", "float", "int64", "uint64", "int32", "fixed64", "fixed32", "bool", "string", "bytes",
           "uint32", "sfixed32", "sfixed64", "sint32", "sint64"]
KNOWN = ["Timestamp", "Duration", "Struct", "Value", "ListValue", "Int64Value", "UInt64Value", "StringValue",
         "BytesValue", "BoolValue", "DoubleValue", "FloatValue"]
IMPORTS = [timestamp_pb2, duration_pb2, struct_pb2, wrappers_pb2]
DEFAULTS = {"string": "a", "bool": "true", "int64": "-7", "double": "1.5", "uint64": "18446744073709551615"}


def number(used):
    n = rng.choice([rng.randrange(1, 16), rng.randrange(16, 300), rng.randrange(300, 2**29 - 1)])
    while n in used or 19_000 <= n < 20_000:
        n = rng.randrange(1, 1000)
    used.add(n)
    return n


def fill(out, name, package, proto2, shapes, depth):
    out.name = name
    path = f"{package}.{name}"
    enum = out.enum_type.add(name="E")
    for i, n in enumerate([0, 1, 2, 7, -3]):
        enum.value.add(name=f"V{i}", number=n)
    inner = []
    if depth:
        for i in range(rng.randrange(1, 3)):
            fill(out.nested_type.add(), f"M{i}", path, proto2, shapes, depth - 1)
            inner.append(f".{path}.M{i}")
    inner.append(f".{path}")
    used = set()
    oneofs = 0

    def typed(field, kind):
        if kind == "enum":
            field.type, field.type_name = F.TYPE_ENUM, f".{path}.E"
        elif kind == "known":
            field.type, field.type_name = F.TYPE_MESSAGE, ".google.protobuf." + rng.choice(KNOWN)
        elif kind == "message":
            field.type, field.type_name = F.TYPE_MESSAGE, rng.choice(inner)
        else:
            field.type = getattr(F, "TYPE_" + kind.upper())

    def kind():
        return rng.choice(SCALARS + ["enum", "known", "known", "message", "message"])

    for i in range(rng.randrange(1, 9)):
        shape = rng.choice(shapes)
        if shape == "map":
            entry = out.nested_type.add(name=f"F{i}Entry")
            entry.options.map_entry = True
            key = entry.field.add(name="key", number=1, label=F.LABEL_OPTIONAL)
            typed(key, rng.choice(["string", "string", "int32", "uint64", "bool", "sint64", "fixed32"]))
            typed(entry.field.add(name="value", number=2, label=F.LABEL_OPTIONAL), kind())
            out.field.add(name=f"f{i}", number=number(used), label=F.LABEL_REPEATED, type=F.TYPE_MESSAGE,
                          type_name=f".{path}.F{i}Entry")
        elif shape == "oneof":
            out.oneof_decl.add(name=f"o{oneofs}")
            for j in range(3):
                typed(out.field.add(name=f"f{i}_{j}", number=number(used), label=F.LABEL_OPTIONAL, oneof_index=oneofs), kind())
            oneofs += 1
        else:
            field = out.field.add(name=f"f{i}", number=number(used),
                                  label=F.LABEL_REPEATED if shape == "list" else F.LABEL_OPTIONAL)
            what = kind()
            typed(field, what)
            packable = what in SCALARS and what not in ("string", "bytes")
            if shape == "list" and packable and rng.random() < 0.5:
                field.options.packed = rng.random() < 0.5
            if shape == "optional" and not proto2:
                field.proto3_optional = True
            if shape == "optional" and proto2 and what in DEFAULTS:
                field.default_value = DEFAULTS[what]
    # The oneofs that stand for `optional` come last.
    for field in out.field:
        if field.proto3_optional:
            field.oneof_index = len(out.oneof_decl)
            out.oneof_decl.add(name=f"_{field.name}")


def text(m, proto2, indent=""):
    """The message as a file of the language."""
    entries = {n.name: n for n in m.nested_type if n.options.map_entry}

    def ty(f):
        return f.type_name or F.Type.Name(f.type)[5:].lower()

    def line(f, in_oneof=False):
        entry = entries.get(f.type_name.rsplit(".", 1)[-1]) if f.label == F.LABEL_REPEATED else None
        if entry:
            return f"map<{ty(entry.field[0])}, {ty(entry.field[1])}> {f.name} = {f.number};"
        word = ""
        if f.label == F.LABEL_REPEATED:
            word = "repeated "
        elif not in_oneof and (proto2 or f.proto3_optional):
            word = "optional "
        options = []
        if f.options.HasField("packed"):
            options.append(f"packed = {str(f.options.packed).lower()}")
        if f.HasField("default_value"):
            options.append("default = " + (f'"{f.default_value}"' if f.type == F.TYPE_STRING else f.default_value))
        return f"{word}{ty(f)} {f.name} = {f.number}{' [' + ', '.join(options) + ']' if options else ''};"

    out = [f"{indent}message {m.name} {{"]
    out.append(f"{indent}  enum E {{ " + " ".join(f"{v.name} = {v.number};" for v in m.enum_type[0].value) + " }")
    out += [text(n, proto2, indent + "  ") for n in m.nested_type if not n.options.map_entry]
    begun = set()
    for f in m.field:
        if f.HasField("oneof_index") and not f.proto3_optional:
            if f.oneof_index not in begun:
                begun.add(f.oneof_index)
                members = [o for o in m.field if o.HasField("oneof_index") and o.oneof_index == f.oneof_index]
                out.append(f"{indent}  oneof {m.oneof_decl[f.oneof_index].name} {{ "
                           + " ".join(line(o, True) for o in members) + " }")
        else:
            out.append(f"{indent}  {line(f)}")
    return "\n".join(out + [indent + "}"])


def scalar(f, proto2):
    t = f.type
    if t in (F.TYPE_DOUBLE, F.TYPE_FLOAT):
        return rng.choice([0.0, -0.0, 23.1, -2.5e-7, math.nan, math.inf, rng.uniform(-1e6, 1e6)])
    if t == F.TYPE_BOOL:
        return rng.random() < 0.5
    if t == F.TYPE_STRING:
        return rng.choice(["", "a", "\u00e4\"\\\n\x01", "\U0001f32a" * 10])
    if t == F.TYPE_BYTES:
        return rng.randbytes(rng.choice([0, 1, 5]))
    if t == F.TYPE_ENUM:
        return rng.choice([0, 1, 2, 7, -3] + ([] if proto2 else [5, -9]))
    bits = 64 if t in (F.TYPE_INT64, F.TYPE_UINT64, F.TYPE_FIXED64, F.TYPE_SFIXED64, F.TYPE_SINT64) else 32
    v = rng.getrandbits(bits) >> rng.randrange(bits)
    if t in (F.TYPE_UINT32, F.TYPE_UINT64, F.TYPE_FIXED32, F.TYPE_FIXED64):
        return v
    return rng.choice([v >> 1, -(v >> 1), -(2 ** (bits - 1)), 0])


def json_value(depth):
    return rng.choice([lambda: None, lambda: rng.choice([0.0, 1.5, -3.0]), lambda: "x\"", lambda: True,
                       lambda: {f"k{i}": json_value(depth - 1) for i in range(rng.randrange(3))} if depth else None,
                       lambda: [json_value(depth - 1) for _ in range(rng.randrange(3))] if depth else None])()


def value(m, proto2, depth):
    """Fills a message at random."""
    d = m.DESCRIPTOR
    if d.full_name == "google.protobuf.Timestamp":
        m.seconds, m.nanos = rng.choice([0, -1, 1_700_000_000, -62135596800, 253402300799, 2**60]), rng.choice([0, 1, 999_999_999, 5_000_000, -1])
        return
    if d.full_name == "google.protobuf.Duration":
        sign = rng.choice([1, -1])
        m.seconds, m.nanos = sign * rng.choice([0, 1, 86400, 315576000001]), rng.choice([1, 1, 1, -1]) * sign * rng.choice([0, 5, 120_000_000])
        return
    if d.full_name == "google.protobuf.Struct":
        m.update({f"k{i}": json_value(2) for i in range(rng.randrange(3))})
        return
    if d.full_name == "google.protobuf.Value":
        around = struct_pb2.Struct()
        around.update({"x": json_value(2)})
        if rng.random() < 0.9:
            m.MergeFromString(around.fields["x"].SerializeToString())
        return
    if d.full_name == "google.protobuf.ListValue":
        m.extend([json_value(1) for _ in range(rng.randrange(3))])
        return
    for f in d.fields:
        if rng.random() < 0.4 or (f.message_type and depth == 0 and not f.message_type.full_name.startswith("google.")):
            continue
        if f.is_repeated and f.message_type and f.message_type.GetOptions().map_entry:
            k, v = f.message_type.fields
            for _ in range(rng.randrange(4)):
                key = scalar(k, proto2)
                if v.message_type:
                    if depth or v.message_type.full_name.startswith("google."):
                        value(getattr(m, f.name)[key], proto2, max(depth - 1, 0))
                else:
                    getattr(m, f.name)[key] = scalar(v, proto2)
        elif f.is_repeated:
            for _ in range(rng.randrange(4)):
                if f.message_type:
                    value(getattr(m, f.name).add(), proto2, max(depth - 1, 0))
                else:
                    getattr(m, f.name).append(scalar(f, proto2))
        elif f.message_type:
            getattr(m, f.name).SetInParent()
            value(getattr(m, f.name), proto2, max(depth - 1, 0))
        else:
            setattr(m, f.name, scalar(f, proto2))


def one(f, v):
    """A value as documented."""
    if f.message_type:
        return whole(v)
    if f.enum_type:
        named = f.enum_type.values_by_number.get(v)
        return named.name if named else v
    if isinstance(v, float):
        return v if math.isfinite(v) else None
    if isinstance(v, bytes):
        return base64.b64encode(v).decode()
    return v


def key(k):
    return str(k).lower() if isinstance(k, bool) else str(k)


def many(m, f):
    v = getattr(m, f.name)
    if f.message_type and f.message_type.GetOptions().map_entry:
        inner = f.message_type.fields_by_name["value"]
        return {key(k): one(inner, v[k]) for k in v}
    return [one(f, x) for x in v]


def whole(m):
    name = m.DESCRIPTOR.full_name
    if name == "google.protobuf.Timestamp":
        fits = -62135596800 <= m.seconds <= 253402300799 and 0 <= m.nanos <= 999_999_999
        return m.seconds * 1000 + m.nanos // 1_000_000 if fits else None
    if name == "google.protobuf.Duration":
        fits = abs(m.seconds) <= 315576000000 and abs(m.nanos) <= 999_999_999 and m.seconds * m.nanos >= 0
        return (m.seconds * 10**9 + m.nanos) / 10**9 if fits else None
    if name == "google.protobuf.Struct":
        return {k: whole(m.fields[k]) for k in m.fields}
    if name == "google.protobuf.ListValue":
        return [whole(x) for x in m.values]
    if name == "google.protobuf.Value":
        kind = m.WhichOneof("kind")
        if kind in (None, "null_value"):
            return None
        v = getattr(m, kind)
        return whole(v) if kind in ("struct_value", "list_value") else (v if not isinstance(v, float) or math.isfinite(v) else None)
    if name.startswith("google.protobuf.") and name.endswith("Value"):
        return one(m.DESCRIPTOR.fields[0], m.value)
    out = {}
    for f, v in m.ListFields():
        out[f.name] = many(m, f) if f.is_repeated else one(f, v)
    return out


def row(m):
    out = {}
    for f in m.DESCRIPTOR.fields:
        if f.is_repeated:
            out[f.name] = many(m, f)
        elif f.has_presence and not m.HasField(f.name):
            out[f.name] = one(f, f.default_value) if f.has_default_value else None
        else:
            out[f.name] = one(f, getattr(m, f.name))
    return out


def bend(b):
    b = bytearray(b)
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(b) + 1)
        if rng.random() < 0.5 and at < len(b):
            b[at] = rng.choice([0, 1, 8, 0x0A, 0x7F, 0x80, 0xFF, rng.randrange(256)])
        elif rng.random() < 0.5:
            del b[at:at + 1]
        else:
            b[at:at] = bytes([rng.randrange(256)])
    return bytes(b)


for case in range(count):
    proto2 = rng.random() < 0.4
    package = f"p{case}"
    file = descriptor_pb2.FileDescriptorProto(name=f"case{case}.proto", package=package, syntax="proto2" if proto2 else "proto3")
    shapes = ["one", "one", "one", "optional", "list", "oneof"] + ["map"] * rng.randrange(2)
    fill(file.message_type.add(), "Root", package, proto2, shapes, 2)
    files = [descriptor_pb2.FileDescriptorProto() for _ in IMPORTS]
    for out, known in zip(files, IMPORTS):
        known.DESCRIPTOR.CopyToProto(out)
        file.dependency.append(out.name)
    pool = descriptor_pool.DescriptorPool()
    for f in files + [file]:
        pool.Add(f)
    cls = message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.Root"))
    proto = f'syntax = "{file.syntax}";\npackage {package};\n' + "".join(f'import "{f.name}";\n' for f in files)
    proto += text(file.message_type[0], proto2) + "\n"
    values = []
    for _ in range(6):
        m = cls()
        value(m, proto2, 2)
        encoded = m.SerializeToString()
        if rng.random() < 0.4:
            # Pieces in a row are merged.
            m = cls()
            value(m, proto2, 2)
            encoded += m.SerializeToString()
        variants = [encoded]
        # This library keeps whole entries of maps apart when they hold what it does not know, and proto2's texts may be of any bytes.
        maps = ["map<", ".Struct ", ".Value ", ".ListValue "]
        if not proto2 and not any(word in proto for word in maps):
            variants += [bend(encoded) for _ in range(4)] + [encoded[:rng.randrange(len(encoded) + 1)]]
        for b in variants:
            try:
                values.append({"hex": b.hex(), "row": row(cls.FromString(b))})
            except message.DecodeError:
                values.append({"hex": b.hex(), "row": None})
    whole_set = descriptor_pb2.FileDescriptorSet(file=files + [file])
    print(json.dumps({"proto": proto, "set": whole_set.SerializeToString().hex(), "message": f"{package}.Root", "values": values}))
