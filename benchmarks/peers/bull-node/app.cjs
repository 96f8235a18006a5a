// Bull, BullMQ's predecessor.
const { concurrency, connection, counted, load, produce } = require("../shared/common.cjs");
const Queue = load("bull");

const queue = new Queue("noop", { redis: connection });
if (process.argv[2] === "worker") {
  const handle = counted();
  queue.process("noop", concurrency, (job) => handle(job.data.n));
  process.on("SIGTERM", () => queue.close().then(() => process.exit(0)));
} else {
  const opts = { removeOnComplete: true };
  produce({
    one: (n) => queue.add("noop", { n }, opts),
    bulk: (many) => queue.addBulk(many.map((n) => ({ name: "noop", data: { n }, opts }))),
    close: () => queue.close(),
  });
}
