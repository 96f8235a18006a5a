// What the Node systems share: the counted handler and a producer's modes, as common.py has them. A worker counts in
// memory and writes the count to its file every few milliseconds, since Node cannot map a file.
const fs = require("node:fs");
const path = require("node:path");
const { createRequire } = require("node:module");

const { BENCH_URL, BENCH_FOLDER, BENCH_MODULES } = process.env;
const { hostname, port, password } = new URL(BENCH_URL);
const samples = Number(process.env.BENCH_SAMPLES || 0);
const io = process.env.BENCH_HANDLER === "io";
const AT_ONCE = 100;
const BULK = 1000;
const WARM_PAUSE = 200;

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const nowUs = () => Math.round((performance.timeOrigin + performance.now()) * 1000);

// Answers the handler, which takes the payload's number.
function counted() {
  const file = fs.openSync(path.join(BENCH_FOLDER, `count.${process.pid}`), "w+");
  const view = new BigInt64Array(1 + samples);
  let count = 0;
  let written = 0;
  setInterval(() => {
    if (count === written) return;
    const known = Math.min(written, samples);
    const until = Math.min(count, samples);
    written = count;
    // The samples first: who sees the count finds them.
    if (until > known) fs.writeSync(file, view, 8 * (1 + known), 8 * (until - known), 8 * (1 + known));
    view[0] = BigInt(count);
    fs.writeSync(file, view, 0, 8, 0);
  }, 2);
  const done = (sent) => {
    if (count < samples) view[1 + count] = BigInt(nowUs() - sent);
    count += 1;
  };
  if (!io) return async (sent) => done(sent);
  return async (sent) => {
    await sleep(10);
    done(sent);
  };
}

const together = (producer, count) => Promise.all(Array.from({ length: count }, () => producer.one(nowUs())));

const warmed = async (producer, count) => {
  for (let n = 0; n < Number(count); n += 1) await producer.one(nowUs());
  await sleep(WARM_PAUSE);
};

const modes = {
  async fill(producer, count) {
    for (let left = Number(count); left > 0; left -= BULK) {
      await producer.bulk(new Array(Math.min(left, BULK)).fill(nowUs()));
    }
    return { emitted: Number(count) };
  },
  async rate(producer, way, seconds) {
    const steps = {
      one: async () => (await producer.one(nowUs()), 1),
      gather: async () => (await together(producer, AT_ONCE), AT_ONCE),
      bulk: async () => (await producer.bulk(new Array(BULK).fill(nowUs())), BULK),
    };
    const step = steps[way];
    const warm = (await step()) + (await step());
    let count = 0;
    let taken;
    const begun = performance.now();
    while ((taken = (performance.now() - begun) / 1000) < Number(seconds)) count += await step();
    return { emitted: warm + count, timed: count, seconds: taken };
  },
  async paced(producer, count, seconds, jitter, warm) {
    await warmed(producer, warm);
    for (let n = 0; n < Number(count); n += 1) {
      await sleep(1000 * (Number(seconds) + Math.random() * Number(jitter)));
      await producer.one(nowUs());
    }
    return { emitted: Number(count) };
  },
  async load(producer, count, perSecond, warm) {
    await warmed(producer, warm);
    const total = Number(count);
    let sent = 0;
    const begun = performance.now();
    while (sent < total) {
      const due = Math.min(total, 1 + Math.floor(((performance.now() - begun) / 1000) * Number(perSecond)));
      if (due > sent) {
        const some = Math.min(due - sent, AT_ONCE);
        await together(producer, some);
        sent += some;
      } else {
        await sleep(1);
      }
    }
    return { emitted: total, seconds: (performance.now() - begun) / 1000 };
  },
};

async function produce(producer) {
  const [, , mode, ...rest] = process.argv;
  console.log(JSON.stringify(await modes[mode](producer, ...rest)));
  await producer.close();
}

module.exports = {
  counted,
  produce,
  connection: { host: hostname, port: Number(port), password },
  concurrency: Number(process.env.BENCH_CONCURRENCY || 10),
  load: createRequire(BENCH_MODULES + "/"),
};
