"""The guided tour: chapters that are played on a live machine.

* :mod:`.lesson` says what a chapter is made of, :mod:`.chapters` holds them, in order.
* :class:`.Scene` is the live machine, what is done on it and what a check asks of it; :mod:`.drawing` draws it.
* :class:`.Player` plays a chapter for a :class:`.Reader`, who may have a keyboard.
* :mod:`.progress` saves how far the reader has come.
"""
