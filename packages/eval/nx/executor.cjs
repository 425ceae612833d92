// Runs an evaluation target's command file from source with its arguments as they were given. nx answers `--help` itself, from the schemas beside
// this file, which therefore list the command's flags (a test compares them with the commands).
const { spawn } = require("node:child_process")
const { join } = require("node:path")

// targets that are pipelines of this repository: they need merge, which eval does not know
const pipelines = { "main-job": join(__dirname, "..", "..", "..", "pipelines", "main-job.ts") }

module.exports = (options, { root, targetName }) => new Promise((resolve) => {
  const file = pipelines[targetName] ?? join(__dirname, "..", "src", "commands", `${targetName}.ts`)
  const child = spawn(process.execPath, ["--import", "tsx", "--conditions=@switchyard/source", file, ...(options.__unparsed__ ?? [])], { cwd: root, stdio: "inherit" })
  child.on("error", (error) => { console.error(error.message); resolve({ success: false }) })
  child.on("exit", (code) => resolve({ success: code === 0 }))
})
