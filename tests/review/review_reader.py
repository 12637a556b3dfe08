"""A person in front of the page of a review, in a real browser."""

import re

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

CHOICES = {"correct": "3", "grounded": "2", "safe": "2", "harm": "1", "confidence": "3"}


class Reader:
    """A person in front of the page."""

    def __init__(self, browser):
        self.browser = browser

    def wait(self, condition):
        return WebDriverWait(self.browser, 600, 0.05).until(lambda _: condition())

    def text(self, name):
        return self.browser.find_element(By.ID, name).text

    def press(self, *keys):
        self.browser.switch_to.active_element.send_keys(*keys)

    def open(self, url, name):
        self.browser.get("about:blank")
        self.browser.get(url)
        self.wait(lambda: "token" not in self.browser.current_url)
        self.enter(name)

    def enter(self, name):
        field = self.wait(lambda: self.browser.find_element(By.ID, "reader"))
        self.wait(field.is_displayed)
        field.clear()
        field.send_keys(name, Keys.ENTER)
        self.wait(lambda: not field.is_displayed())

    def place(self):
        """The number of the case that is shown, and of all."""
        match = self.wait(lambda: re.fullmatch(r"Case (\d+) of (\d+)", self.text("progress")))
        return int(match[1]), int(match[2])

    def judge(self, keys=CHOICES):
        """Judge the case by keyboard; returns when the next one is there."""
        before = self.text("progress")
        body = self.browser.find_element(By.TAG_NAME, "body")
        body.send_keys(*keys.values())
        body.send_keys(Keys.ENTER)
        self.wait(lambda: self.text("progress") != before or self.text("end"))

    def resize(self, width, height, *, is_mobile=False):
        """Give the window a size in CSS pixels."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_mobile}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def set_theme(self, scheme):
        """Make the browser ask for the theme "light" or "dark"."""
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)

    def run(self, script, *arguments):
        """The value that a script returns in the page."""
        return self.browser.execute_script(script, *arguments)
