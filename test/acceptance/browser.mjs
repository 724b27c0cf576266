// Drives a real Chromium by a list of steps, as a person would who sees a page: by
// the labels of its fields and the names of its buttons and links.
//
//   node browser.mjs CHROMIUM < steps.json > answers.json
//
// Each answer is what is seen after the step: the address, the title, the text, the
// fields without a label, how far the page is wider than the window, and what the
// browser complained of since the last one (a Content-Security-Policy, a script).
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { chromium } from 'playwright-core';

const steps = JSON.parse(await text(process.stdin));
const home = mkdtempSync(join(tmpdir(), 'callgate-browser-'));
const context = await chromium.launchPersistentContext(home, {
  executablePath: process.argv[2],
  ignoreHTTPSErrors: true, // the certificate of a test's own proxy
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
const page = context.pages()[0] ?? (await context.newPage());
page.setDefaultTimeout(15000);
let complaints = [];
page.on('console', (m) => ['error', 'warning'].includes(m.type()) && !/responded with a status of 4\d\d/.test(m.text()) && complaints.push(m.text())); // a page of ours that says no
page.on('pageerror', (e) => complaints.push(String(e)));
page.on('requestfailed', (r) => complaints.push(`${r.url()} ${r.failure()?.errorText}`));

const answers = [];
try {
  for (const { op, at, label, value, name, width, file } of steps) {
    if (op === 'open') await page.goto(at);
    else if (op === 'fill') await page.getByLabel(label).fill(value);
    else if (op === 'choose') await page.getByLabel(label).check();
    else if (op === 'click') await page.getByRole('button', { name, exact: true }).click();
    else if (op === 'link') await page.getByRole('link', { name }).click();
    else if (op === 'press') await page.keyboard.press(name);
    else if (op === 'width') await page.setViewportSize({ width, height: 740 });
    else if (op === 'wait') await page.waitForURL((u) => String(u).startsWith(at));
    else if (op === 'dark') await page.emulateMedia({ colorScheme: 'dark' });
    else throw new Error(`no step ${op}`);
    await page.waitForLoadState();
    if (file) await page.screenshot({ path: file, fullPage: true });
    answers.push({
      op, url: page.url(), title: await page.title(), text: await page.locator('body').innerText(),
      ...(await page.evaluate(() => ({
        lang: document.documentElement.lang,
        unlabelled: [...document.querySelectorAll('input:not([type=hidden]), select, textarea')].filter((e) => !e.labels?.length).map((e) => e.outerHTML),
        over: document.documentElement.scrollWidth - window.innerWidth,
        small: [...document.querySelectorAll('button, a.button')].filter((e) => e.getBoundingClientRect().height < 24).map((e) => e.outerHTML),
        styled: getComputedStyle(document.body).maxWidth !== 'none',
        scripts: document.scripts.length,
        focus: document.activeElement?.id,
      }))),
      complaints: complaints.splice(0),
    });
  }
} catch (e) {
  answers.push({ error: String(e), url: page.url(), text: await page.locator('body').innerText().catch(() => ''), complaints });
}
console.log(JSON.stringify(answers));
await context.close();
rmSync(home, { recursive: true, force: true });
