// BullMQ for Node.
const { concurrency, connection, counted, load, produce } = require("../shared/common.cjs");
const { Queue, Worker } = load("bullmq");

if (process.argv[2] === "worker") {
  const handle = counted();
  const worker = new Worker("noop", (job) => handle(job.data.n), { connection, concurrency });
  process.on("SIGTERM", () => worker.close().then(() => process.exit(0)));
} else {
  const opts = { removeOnComplete: true };
  const queue = new Queue("noop", { connection });
  produce({
    one: (n) => queue.add("noop", { n }, opts),
    bulk: (many) => queue.addBulk(many.map((n) => ({ name: "noop", data: { n }, opts }))),
    close: () => queue.close(),
  });
}
