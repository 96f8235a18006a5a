// Node's BullMQ on the same work: jobs with no-op processing, completed ones removed. Usage: drain.cjs MODULES URL N
const [, , modules, url, count] = process.argv;
const { createRequire } = require("node:module");
const { Queue, Worker } = createRequire(modules + "/")("bullmq");
const { hostname, port } = new URL(url);
const connection = { host: hostname, port: Number(port) };
const total = Number(count);

(async () => {
  const queue = new Queue("drain", { connection });
  for (let n = 0; n < total; n += 1000) {
    await queue.addBulk(
      Array.from({ length: 1000 }, (_, i) => ({ name: "noop", data: { n: n + i }, opts: { removeOnComplete: true } })),
    );
  }
  const begun = performance.now();
  let done = 0;
  const worker = new Worker("drain", async () => {}, { connection, concurrency: 100 });
  await new Promise((resolve) => worker.on("completed", () => ++done === total && resolve()));
  console.log(JSON.stringify({ seconds: (performance.now() - begun) / 1000, left: await queue.getJobCounts() }));
  await worker.close();
  await queue.close();
})();
