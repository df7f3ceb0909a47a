// Backs up two disks of a guest with dirty bitmaps: node backup.mjs QEMU-SYSTEM FOLDER
//
// FOLDER holds the disks, a.qcow2 and b.qcow2, and the empty files that the backups go to. What happens is printed,
// a line of JSON each.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";

import { Qmp } from "./qmp.mjs";

const DISKS = ["a", "b"];
const [program, folder] = process.argv.slice(2);
const tell = (...words) => console.log(JSON.stringify(words));

function start(socket) {
  const options = ["-nodefaults", "-display", "none", "-qmp", `unix:${socket},server=on,wait=off`];
  for (const disk of DISKS) {
    const file = { driver: "file", filename: join(folder, `${disk}.qcow2`) };
    options.push("-blockdev", JSON.stringify({ driver: "qcow2", "node-name": disk, file }));
    options.push("-device", `virtio-blk-pci,id=disk-${disk},drive=${disk}`);
  }
  return spawn(program, options, { stdio: ["ignore", "ignore", "inherit"] });
}

/** A guest's writes, as a human at the monitor would make them. */
const write = (qmp, disk, request) =>
  qmp.execute("human-monitor-command", {
    "command-line": `qemu-io -d /machine/peripheral/disk-${disk}/virtio-backend "${request}"`,
  });

const addTarget = (qmp, disk, name) =>
  qmp.execute("blockdev-add", {
    driver: "qcow2",
    "node-name": `${disk}-${name}`,
    file: { driver: "file", filename: join(folder, `${disk}-${name}.qcow2`) },
  });

/** One point in time for all disks; each copy that ends is told. */
async function backUp(qmp, name, mode, properties, actionsFor = () => []) {
  for (const disk of DISKS) await addTarget(qmp, disk, name);
  const actions = DISKS.flatMap((disk) => [
    ...actionsFor(disk),
    {
      type: "blockdev-backup",
      data: { device: disk, target: `${disk}-${name}`, "job-id": `${disk}-${name}`, ...properties },
    },
  ]);
  await qmp.execute("transaction", { actions, properties: { "completion-mode": mode } });
  for (const disk of DISKS) {
    const job = `${disk}-${name}`;
    const { data } = await qmp.event(({ event, data }) => event === "BLOCK_JOB_COMPLETED" && data.device === job);
    tell("copied", job, data.offset, data.error ?? null);
    await qmp.event(({ event, data }) => event === "JOB_STATUS_CHANGE" && data.id === job && data.status === "null");
    await qmp.execute("blockdev-del", { "node-name": job });
  }
}

async function tellBitmaps(qmp) {
  for (const node of await qmp.execute("query-named-block-nodes"))
    for (const bitmap of node["dirty-bitmaps"] ?? [])
      tell("bitmap", node["node-name"], bitmap.name, bitmap.count, bitmap.recording, bitmap.busy);
}

async function main(qmp) {
  await backUp(qmp, "full", "individual", { sync: "full" }, (disk) => [
    { type: "block-dirty-bitmap-add", data: { node: disk, name: "since", persistent: true } },
  ]);
  await write(qmp, "a", "write -P 3 64k 128k");
  await write(qmp, "b", "write -P 4 0 64k");
  await tellBitmaps(qmp);
  await backUp(qmp, "more", "grouped", { sync: "incremental", bitmap: "since" });
  await write(qmp, "b", "write -P 5 512k 1");
  await tellBitmaps(qmp);

  // A backup of a bitmap that is not there is refused, and nothing of the transaction has happened.
  await addTarget(qmp, "a", "wrong");
  const wrong = { device: "a", target: "a-wrong", sync: "incremental", bitmap: "other" };
  const actions = [
    { type: "block-dirty-bitmap-clear", data: { node: "b", name: "since" } },
    { type: "blockdev-backup", data: { ...wrong, "job-id": "wrong" } },
  ];
  await qmp.execute("transaction", { actions }).catch((error) => tell("refused", error.errorClass, error.message));
  await tellBitmaps(qmp);

  await qmp.execute("quit");
  const { data } = await qmp.event(({ event }) => event === "SHUTDOWN");
  tell("ended", data.reason);
}

const socket = join(folder, "qmp.sock");
const qemu = start(socket);
const ended = once(qemu, "exit");
try {
  await main(await Qmp.connect(socket));
} catch (error) {
  qemu.kill();
  throw error;
}
tell("exited", ...(await ended));
