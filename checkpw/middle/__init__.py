"""In front of an SMTP server that is as it is: what spamdyke was for others."""
