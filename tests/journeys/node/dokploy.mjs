// Dokploy's own clients, unmodified, on one walk over our procedures; prints what each call saw.
// WALK: [{call, args, keep: {name: "path"}, until: {path: [values]}}]; "$name" is a kept value.
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { Command } from "commander";
import { registerGeneratedCommands } from "./node_modules/@dokploy/cli/dist/generated/commands.js";

const DEADLINE_MS = 60_000;
const [driver, file] = process.argv.slice(2);

// The command line: each call is what its parser makes of the words.
async function openCommandLine() {
  const print = console.log;
  return {
    async call(name, args) {
      const program = new Command().exitOverride();
      registerGeneratedCommands(program);
      const [router, verb] = name.split(".").map((word) => word.replace(/([a-z])([A-Z])/g, "$1-$2").toLowerCase());
      const words = Object.entries(args).flatMap(([key, value]) => {
        if (value === true) return [`--${key}`];
        return value === null || value === false ? [] : [`--${key}`, flag(value)];
      });
      const lines = [];
      console.log = (line) => lines.push(line);
      try {
        await program.parseAsync(["node", "dokploy", router, verb, ...words, "--json"]);
      } catch (error) {
        throw new Error(JSON.stringify(error.response?.data ?? error.message));
      } finally {
        console.log = print;
      }
      return JSON.parse(lines.join("\n"));
    },
    async close() {},
  };
}

function flag(value) {
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

async function openMcp() {
  const transport = new StdioClientTransport({
    command: "node",
    args: ["node_modules/@dokploy/mcp/build/index.js"],
    env: { ...process.env, DOKPLOY_REDACT_ENV: "false" },
    stderr: "ignore",
  });
  const client = new Client({ name: "journey", version: "1.0.0" });
  await client.connect(transport);
  return {
    async call(name, args) {
      const answer = await client.callTool({ name: name.replace(".", "-"), arguments: args });
      const text = answer.content[0].text;
      if (answer.isError) throw new Error(text);
      return JSON.parse(text).data;
    },
    async close() {
      await client.close();
    },
  };
}

const at = (value, path) =>
  path.split(".").reduce((found, part) => (part ? found?.[part] : found), value);

function fill(value, kept) {
  if (typeof value === "string") {
    return value.replace(/\$([a-z]\w*)/g, (whole, name) => kept[name] ?? whole);
  }
  if (Array.isArray(value)) return value.map((each) => fill(each, kept));
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, fill(part, kept)]));
}

async function perform(client, step, kept) {
  const args = fill(step.args ?? {}, kept);
  const end = Date.now() + DEADLINE_MS;
  for (;;) {
    const value = await client.call(step.call, args);
    const waits = Object.entries(step.until ?? {}).some(([path, values]) =>
      values.length ? !values.includes(at(value, path)) : at(value, path) == null,
    );
    if (!waits) return value;
    if (Date.now() > end) throw new Error(`${JSON.stringify(step)}: ${JSON.stringify(value)}`);
    await sleep(100);
  }
}

const client = await (driver === "mcp" ? openMcp() : openCommandLine());
const { walk, kept } = JSON.parse(readFileSync(file, "utf8"));
const seen = [];
for (const step of walk) {
  try {
    const value = await perform(client, step, kept);
    for (const [name, path] of Object.entries(step.keep ?? {})) kept[name] = at(value, path);
    seen.push({ call: step.call, value: value ?? null });
  } catch (error) {
    seen.push({ call: step.call, error: String(error.message).slice(0, 2000) });
  }
}
await client.close();
console.log(JSON.stringify(seen));
