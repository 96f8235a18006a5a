"""The files for another program: events.d.ts for TypeScript, events.json for whatever reads JSON Schema."""

from __future__ import annotations

import json
from typing import Any, Final

from oxherd.typescript.converter import Converter, Type, comment_of, string
from oxherd.typescript.event_schemas import EventSchema, HerdSchemas

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_HEAD: Final = """\
// Written by `oxherd types`: change the events' types in Python, and run it again.
import type { Job, JobsOptions, JobSchedulerTemplateOptions, Queue, RepeatOptions, Worker } from "bullmq";

"""
# What _TAIL declares, and what it uses.
_RESERVED: Final = frozenset({
    "EmitOptions", "Emittable", "EventJob", "EventName", "EventQueue", "EventWorker", "Events", "Job", "JobsOptions",
    "JobSchedulerTemplateOptions", "Omit", "Payload", "Pick", "Prefix", "Promise", "Queue", "QueueName",
    "RepeatOptions", "Required", "Result", "Sealed", "Stored", "WithSealed", "Worker",
})  # fmt: skip
_TAIL: Final = """
/** A union's member whose tag has a default in Python, and must be sent all the same. */
export type Tagged<T, Tag extends string> = T extends unknown ? T & Required<Pick<T, Tag & keyof T>> : never;

/** What oxherd has encrypted; only oxherd opens it. */
export interface Sealed {
  "oxherd:sealed": string;
}

/** A payload as it is stored, some of its fields sealed; Path are their dotted paths, lists and mappings skipped. */
export type WithSealed<T, Path extends string> = T extends readonly unknown[]
  ? { [Index in keyof T]: WithSealed<T[Index], Path> }
  : T extends object
    ? string extends keyof T
      ? { [Key in keyof T]: WithSealed<T[Key], Path> }
      : {
          [Key in keyof T]: Key extends Path
            ? T[Key] | Sealed
            : WithSealed<T[Key], Path extends `${Key & string}.${infer Rest}` ? Rest : never>;
        }
    : T;

export type EventName = keyof Events;

/** The events that other programs may add: no Failure, and none that has to be sealed. */
export type Emittable = { [Name in EventName]: Events[Name]["emittable"] extends true ? Name : never }[EventName];

/** What is added. */
export type Payload<Name extends EventName> = Events[Name]["payload"];

/** What a job's data is: the payload, parts of which may be sealed. */
export type Stored<Name extends EventName> = Events[Name]["stored"];

/** What a job returns, as JSON. */
export type Result<Name extends EventName> = Events[Name]["result"];

/** The name of the event's queue, the first one if it has shards. */
export type QueueName<Name extends EventName> = Events[Name]["queue"];

/** BullMQ's options, and oxherd's: the milliseconds after which an event that has not begun is dropped. */
export type EmitOptions = JobsOptions & { "ox:expires"?: number };

/** A job of one of these events; `job.name` tells which. */
export type EventJob<Name extends EventName = EventName> = {
  [One in Name]: Job<Stored<One>, Result<One>, One>;
}[Name];

/** BullMQ's Queue, whose jobs are these events: `const queue: EventQueue<"a" | "b"> = new Queue(...)`. */
export type EventQueue<Name extends Emittable> = Omit<Queue, "add" | "addBulk" | "upsertJobScheduler"> & {
  add<One extends Name>(
    name: One,
    payload: Payload<One>,
    options?: EmitOptions,
  ): Promise<Job<Payload<One>, Result<One>>>;
  addBulk(
    jobs: { [One in Name]: { name: One; data: Payload<One>; opts?: EmitOptions } }[Name][],
  ): Promise<Job<Payload<Name>, Result<Name>>[]>;
  upsertJobScheduler<One extends Name>(
    id: string,
    repeat: Omit<RepeatOptions, "key">,
    template: { name: One; data: Payload<One>; opts?: JobSchedulerTemplateOptions },
  ): Promise<Job<Payload<One>, Result<One>>>;
};

/** BullMQ's Worker of one event: `new Worker<Stored<"a">, Result<"a">, "a">(...)`. */
export type EventWorker<Name extends EventName> = Worker<Stored<Name>, Result<Name>, Name>;
"""


def typescript(schemas: HerdSchemas) -> str:
    """The text of events.d.ts."""
    converter = Converter(schemas.definitions, _RESERVED)
    parts = [_HEAD]
    parts += [f"{declared}\n" for declared in converter.declarations()]
    parts.append("/** The prefix of the queues' keys: `new Queue(name, { prefix })`. */\n")
    parts.append(f"export type Prefix = {string(schemas.prefix)};\n\n")
    parts.append("/** Each event: what it carries, and where. */\nexport interface Events {\n")
    parts += [_event(event, schemas, converter) for event in schemas.events.values()]
    parts += ["}\n", _TAIL]
    return "".join(parts)


def _event(event: EventSchema, schemas: HerdSchemas, converter: Converter) -> str:
    payload = converter.type(schemas.payloads[event.name], "    ")
    result = converter.type(schemas.results[event.name], "    ").text
    lines = {
        "payload": payload.text,
        "stored": _stored(event, payload),
        "result": result if event.sealed is None or result == "unknown" else f"{result} | Sealed",
        "queue": string(event.queue),
        "shards": str(len(event.queues)),
        "emittable": "true" if event.emittable else "false",
    }
    body = "".join(f"    {name}: {text};\n" for name, text in lines.items())
    return f"{comment_of(_notes(event), '  ')}  {string(event.name)}: {{\n{body}  }};\n"


def _stored(event: EventSchema, payload: Type) -> str:
    if event.sealed is None:
        return payload.text
    if event.sealed is True:
        return "Sealed" if event.strict else f"{payload.operand} | Sealed"
    return f"WithSealed<{payload.text}, {' | '.join(string(path) for path in event.sealed)}>"


def _notes(event: EventSchema) -> list[str]:
    notes: list[str] = []
    if event.sealed is not None:
        what = "the payload" if event.sealed is True else ", ".join(event.sealed)
        others = "a payload that is not sealed is refused" if event.strict else "what another program adds is not"
        notes.append(f"Sealed where oxherd emits it: {what}; {others}.")
    if len(event.queues) > 1:
        notes.append(f"It has {len(event.queues)} shards, whose queues events.json names.")
    return notes


def json_text(schemas: HerdSchemas) -> str:
    """The text of events.json."""
    events = {event.name: _described(event) for event in schemas.events.values()}
    return json.dumps({"prefix": schemas.prefix, "events": events}, indent=2).replace("\x7f", "\\u007f") + "\n"


def _described(event: EventSchema) -> dict[str, Any]:
    return {
        "queue": event.queue,
        "queues": list(event.queues),
        "shards": len(event.queues),
        "emittable": event.emittable,
        "sealed": list(event.sealed) if isinstance(event.sealed, tuple) else bool(event.sealed),
        "payload": {"$schema": DIALECT, **event.payload},
        "result": {"$schema": DIALECT, **event.result},
    }
