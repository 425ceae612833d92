/**
 * The README's picture: the top of a report, as a browser shows it.
 *
 *     node tools/picture.mjs runs/quickstart/report.html docs/report.png
 *     node tools/picture.mjs runs/main-job/report.html docs/main-job.png "By position: low-rank experts"     from that heading on
 *
 * SWITCHYARD_BROWSER names the Chromium to use; /usr/bin/chromium where it is unset.
 */
import { resolve } from "node:path"
import { pathToFileURL } from "node:url"
import { chromium } from "playwright-core"

const [report, picture, heading] = process.argv.slice(2)
if (report === undefined || picture === undefined) { console.error("usage: node tools/picture.mjs REPORT.html PICTURE.png [HEADING]"); process.exit(1) }
const browser = await chromium.launch({ executablePath: process.env["SWITCHYARD_BROWSER"] ?? "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking"] })
try {
  const page = await browser.newPage({ viewport: { width: 1120, height: 2060 }, deviceScaleFactor: 0.8 })
  await page.goto(pathToFileURL(resolve(report)).href)
  if (heading !== undefined) {
    await page.setViewportSize({ width: 1120, height: 1080 })
    await page.getByRole("heading", { name: heading, exact: true }).evaluate((element) => element.scrollIntoView({ block: "start" }))
  }
  await page.screenshot({ path: picture })
} finally {
  await browser.close()
}
