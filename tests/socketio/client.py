"""The clients in Python, driven by lines of JSON on standard input; what they hear goes out the same way.

In: commands with a `number`. Out: `{"answer": number, "value": ...}`, and `{"line", "room", "event", "args"}` for each event.
Must stay true: it runs with python-socketio 4 and 5 alike; bytes are `{"base64": "..."}` in both directions.
"""

import base64
import json
import os
import sys
import threading

import socketio

OLD = not hasattr(socketio.Client, "get_sid")  # protocol 4: no auth, the main namespace is always there
lines = {}
writing = threading.Lock()


def packed(value):
    if isinstance(value, (bytes, bytearray)):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {key: packed(member) for key, member in value.items()}
    return [packed(member) for member in value] if isinstance(value, (list, tuple)) else value


def unpacked(value):
    if isinstance(value, dict):
        if set(value) == {"base64"}:
            return base64.b64decode(value["base64"])
        return {key: unpacked(member) for key, member in value.items()}
    return [unpacked(member) for member in value] if isinstance(value, list) else value


def say(**what):
    with writing:
        print(json.dumps(packed(what)), flush=True)


def answer(command, value=None):
    say(answer=command["number"], value=value)


def refusal(*args):
    """The word of the server, which comes in an object or as it is."""
    first = args[0] if args else None
    return first.get("message") if isinstance(first, dict) else first


def listen(client, command, room):
    def tell(event, args):
        say(line=command["line"], room=room, event=event, args=args)

    def on(event):
        def heard(*args):
            tell(event, args)
            return args if event == "please-ack" else None

        client.on(event, heard, namespace=room)

    client.on("connect", lambda: tell("connect", []), namespace=room)
    client.on("disconnect", lambda *reason: tell("disconnect", reason), namespace=room)
    client.on("connect_error", lambda *args: tell("refused", [refusal(*args)]), namespace=room)
    for event in command["listen"]:
        on(event)


def start(command):
    client = socketio.Client(
        reconnection=command["reconnection"], reconnection_delay=0.02, reconnection_delay_max=0.1, randomization_factor=0
    )
    lines[command["line"]] = client
    rooms = command["namespaces"]
    options = {"transports": command["transports"]}
    if OLD:
        # A query after the name is what clients of that protocol send as auth.
        query = {room: "?" + "&".join(f"{k}={v}" for k, v in auth.items()) if auth else "" for room, auth in rooms.items()}
        options["namespaces"] = [room + query[room] for room in rooms]
    else:
        options.update(namespaces=list(rooms), wait=False, auth=next((auth for auth in rooms.values() if auth), None))
    for room in rooms:
        listen(client, command, room)
    try:
        client.connect(command["url"], **options)
    except socketio.exceptions.ConnectionError as error:
        return answer(command, str(error))
    answer(command)


def run(command):
    what, client = command["do"], lines.get(command.get("line"))
    if what == "hello":
        answer(command)
    elif what == "open":
        start(command)
    elif what == "close":
        client.disconnect()
        answer(command)
    elif what == "transport":
        answer(command, client.transport())
    elif what == "sid":
        answer(command, client.eio.sid)
    else:
        args = tuple(unpacked(command["args"]))
        callback = (lambda *args: answer(command, args)) if what == "call" else None
        client.emit(command["event"], args, namespace=command["room"], callback=callback)


def main():
    # What blocks, or waits for threads of its own client, must not hold up the others.
    apart = {"open", "close"}
    for text in sys.stdin:
        command = json.loads(text)
        if command["do"] in apart:
            threading.Thread(target=run, args=(command,), daemon=True).start()
        else:
            run(command)
    os._exit(0)


main()
