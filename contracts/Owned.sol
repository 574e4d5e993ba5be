// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// A contract with one owner, at first its deployer.
abstract contract Owned {
    event NewOwner(address indexed old, address indexed current);

    error NotOwner();
    error OwnerIsZero();

    address public owner = msg.sender;

    modifier onlyOwner() {
        if (msg.sender != owner) revert NotOwner();
        _;
    }

    /// Hands the contract over at once.
    function setOwner(address _new) external onlyOwner {
        if (_new == address(0)) revert OwnerIsZero();
        emit NewOwner(owner, _new);
        owner = _new;
    }
}
