# Messages as clients of Confluent's registry write them: `python3 frames.py URL` registers two files and prints in hex
# {"bare": [messages], "framed": [the same behind frames], "notes": [framed messages that are declared inside of another]}.
import json, sys

from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2

F = descriptor_pb2.FieldDescriptorProto
pool = descriptor_pool.DescriptorPool()
known = descriptor_pb2.FileDescriptorProto()
timestamp_pb2.DESCRIPTOR.CopyToProto(known)


def field(message, name, number, type, of=None, label=F.LABEL_OPTIONAL):
    message.field.add(name=name, number=number, type=type, type_name=of, label=label)


user = descriptor_pb2.FileDescriptorProto(name="shop/user.proto", package="shop", syntax="proto3")
message = user.message_type.add(name="User")
field(message, "id", 1, F.TYPE_INT64)
field(message, "name", 2, F.TYPE_STRING)

order = descriptor_pb2.FileDescriptorProto(name="shop/order.proto", package="shop", syntax="proto3")
order.dependency.extend(["google/protobuf/timestamp.proto", "shop/user.proto"])
order.message_type.add(name="Unused")
message = order.message_type.add(name="Order")
field(message, "at", 1, F.TYPE_MESSAGE, ".google.protobuf.Timestamp")
field(message, "buyer", 2, F.TYPE_MESSAGE, ".shop.User")
field(message, "cents", 3, F.TYPE_INT64)
field(message, "labels", 4, F.TYPE_MESSAGE, ".shop.Order.LabelsEntry", F.LABEL_REPEATED)
note = message.nested_type.add(name="Note")
field(note, "cents", 7, F.TYPE_SINT64)
entry = message.nested_type.add(name="LabelsEntry")
entry.options.map_entry = True
field(entry, "key", 1, F.TYPE_STRING)
field(entry, "value", 2, F.TYPE_STRING)

for file in (known, user, order):
    pool.Add(file)
Order = message_factory.GetMessageClass(pool.FindMessageTypeByName("shop.Order"))
Note = message_factory.GetMessageClass(pool.FindMessageTypeByName("shop.Order.Note"))

orders = []
for i, name in enumerate(["ann", "bob", "ann"]):
    one = Order(cents=2**40 + i)
    one.buyer.name = name
    one.at.seconds = 1_700_000_000 + i
    one.labels["env"] = "test"
    orders.append(one)

client = SchemaRegistryClient({"url": sys.argv[1]})
context = SerializationContext("orders", MessageField.VALUE)
framed = ProtobufSerializer(Order, client, {"use.deprecated.format": False})
noted = ProtobufSerializer(Note, client, {"use.deprecated.format": False})
print(json.dumps({
    "bare": [one.SerializeToString().hex() for one in orders],
    "framed": [framed(one, context).hex() for one in orders],
    "notes": [noted(Note(cents=-5), context).hex()],
}))
