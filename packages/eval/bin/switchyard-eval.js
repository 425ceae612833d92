#!/usr/bin/env node
// The command line: from what is built where this is an installed package, from source where it is the repository (its tsconfig.json is not published).
import { spawn } from "node:child_process"
import { existsSync } from "node:fs"
import { fileURLToPath } from "node:url"

const at = (path) => fileURLToPath(new URL(path, import.meta.url))
const run = existsSync(at("../tsconfig.json"))
  ? ["--import", import.meta.resolve("tsx"), "--conditions=@switchyard/source", at("../src/commands/suite.ts")]
  : [at("../dist/commands/suite.js")]
const child = spawn(process.execPath, [...run, ...process.argv.slice(2)], { stdio: "inherit" })
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => child.kill(signal))
child.on("error", (error) => { console.error(error.message); process.exitCode = 1 })
child.on("exit", (code, signal) => { process.exitCode = code ?? (signal === "SIGINT" ? 130 : 1) })
