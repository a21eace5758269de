// A headless browser with a profile of its own, and what tests ask of a page.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];
export const PATIENCE = 60_000;
const AXE = createRequire(import.meta.url).resolve('axe-core/axe.min.js');

export class Browser {
  static async start(options = {}) {
    const browser = new Browser();
    browser.folder = mkdtempSync(join(tmpdir(), 'countermove-browser-'));
    browser.context = await chromium.launchPersistentContext(browser.folder, {
      executablePath: process.env.CHROMIUM,
      headless: true,
      args: FLAGS,
      viewport: { width: 1440, height: 960 },
      colorScheme: 'light',
      acceptDownloads: true,
      ...options,
    });
    browser.context.setDefaultTimeout(PATIENCE);
    return browser;
  }

  /** A tab of its own, which fails the test by what its scripts break or what its policy forbids. */
  async tab() {
    const page = await this.context.newPage();
    page.faults = [];
    page.on('pageerror', (error) => page.faults.push(error.message));
    page.on('console', (message) => {
      // Calls that fail while the coordinator is away are part of the test.
      if (message.type() === 'error' && !/Failed to load resource|net::ERR_/.test(message.text())) page.faults.push(message.text());
    });
    return page;
  }

  async end() {
    await this.context?.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** What axe finds wrong on the page as it stands. The script is evaluated by the browser's debugger, so the policy stays in force. */
export async function accessible(page, where) {
  await page.evaluate(readFileSync(AXE, 'utf8'));
  const found = await page.evaluate(async () => {
    const { violations } = await globalThis.axe.run(document, { resultTypes: ['violations'] });
    return violations.map((one) => `${one.id}: ${one.help}: ${one.nodes.slice(0, 3).map((node) => node.html.slice(0, 160)).join(' | ')}`);
  });
  assert.deepEqual(found, [], `axe on ${where}`);
}

/** Nothing sticks out at the side. */
export async function fits(page, where) {
  const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.ok(over <= 0, `${where} is ${over} pixels too wide`);
}
