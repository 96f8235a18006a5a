// What a test's script on Node's side gets: BullMQ's classes bound to the test's queue, and `say`, which prints a line
// of JSON. A script is the body of an async function; `done()` resolves when the test closes standard input.
const { FlowProducer, Queue, Worker, QueueEvents, UnrecoverableError } = require("bullmq");
const { Cluster } = require("ioredis");

const { script, nodes, prefix, queue: name } = JSON.parse(process.argv[2]);

const opened = [];
const connect = () => {
  if (nodes.length === 1) return { ...nodes[0], maxRetriesPerRequest: null };
  const cluster = new Cluster(nodes, { redisOptions: { maxRetriesPerRequest: null } });
  opened.push({ close: () => cluster.disconnect() });
  return cluster;
};
const open = (thing) => {
  thing.on?.("error", (error) => say({ error: String(error) }));
  opened.push(thing);
  return thing;
};
const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
const done = () => new Promise((resolve) => process.stdin.resume().on("end", resolve));
const queue = open(new Queue(name, { connection: connect(), prefix }));
const worker = (handler, options = {}) => open(new Worker(name, handler, { connection: connect(), prefix, ...options }));
const flows = () => open(new FlowProducer({ connection: connect(), prefix }));
// From the stream's start: "ready" comes before its first read, and what happens in between would not be heard.
const events = () => open(new QueueEvents(name, { connection: connect(), prefix, lastEventId: "0-0" }));
// The body's own names: what it is given, in order.
const given = { queue, worker, flows, events, say, done, UnrecoverableError, require };

const body = new (Object.getPrototypeOf(async () => {}).constructor)(...Object.keys(given), script);
body(...Object.values(given))
  .catch((error) => {
    say({ error: String(error.stack) });
    process.exitCode = 1;
  })
  .finally(async () => {
    // BullMQ's workers do not always end on a cluster; by now they have nothing more to do.
    const patience = new Promise((resolve) => setTimeout(resolve, 3000));
    await Promise.race([patience, (async () => { for (const thing of opened.reverse()) await thing.close(); })()]);
    process.exit();
  });
