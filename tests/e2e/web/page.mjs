// Somebody who opens the agent's page in a browser, looks at it, and saves the past.
// Usage: node page.mjs CHROMIUM http://ADDRESS/ SCREENSHOT.png
import { chromium } from "playwright-core";

const [executablePath, address, screenshot] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
try {
  const page = await browser.newPage();
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (line) => line.type() === "error" && complaints.push(`${line.text()} ${line.location().url}`));
  await page.goto(address);
  await page.locator("#topics tr", { hasText: "/imu" }).waitFor();
  await page.waitForFunction(() => document.querySelector("#pictures img")?.naturalWidth > 0);
  await page.locator("#why").fill("seen in a browser");
  await page.locator("#save button").click();
  const saved = page.locator("#saved:not(:empty)");
  await saved.waitFor();
  await page.screenshot({ path: screenshot, fullPage: true });
  const told = {
    device: await page.locator("#device").textContent(),
    topics: await page.locator("#topics tr td:first-child, #topics tr th:first-child").allTextContents(),
    saved: await saved.textContent(),
    complaints,
  };
  console.log(JSON.stringify(told));
} finally {
  await browser.close();
}
